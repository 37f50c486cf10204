"""Texts for vectors from elsewhere, into a file: resumable, and shared among the processes of a launch.

What is done is kept row by row in a folder beside the file, ``<file>.parts``; whenever a process dies, the next run
reads it and goes on with what is left. When all is there, the file is written in one step and the folder removed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from unmask.core import distributed
from unmask.core.errors import UsageError
from unmask.core.files import write_json, write_text
from unmask.core.model import Model
from unmask.core.sampling_config import SamplingConfig
from unmask.search.loop import Ended

COLUMNS = ("row", "text", "cosine", "verified", "calls", "forwards", "stopped")


def invert_to(
    path: str | Path,
    model: Model,
    vectors_NZ: Tensor,
    config: SamplingConfig,
    *,
    stored: str = "fp32",
    on_progress: Callable[[Any], None] | None = None,
) -> list[dict[str, Any]]:
    """Write a text for each vector to a .csv or .jsonl file, and give the rows; those that there was time for.

    Args:
        path: the file; it must not exist, unless what is beside it says that it was not finished.
        model, vectors_NZ, config, stored, on_progress: as for :meth:`unmask.core.model.Model.invert`.

    Raises:
        UsageError: another ending, a file that is there, or the rest of a run with other vectors or settings.
    """
    path = Path(path)
    if path.suffix not in (".csv", ".jsonl"):
        raise UsageError(f"texts are written as .csv or .jsonl, not {path.name!r}")
    if path.exists():
        raise UsageError(f"{str(path)!r} is there already: choose another name or remove it")
    parts = path.with_name(path.name + ".parts")
    about = {
        "vectors": hashlib.sha256(vectors_NZ.contiguous().numpy().tobytes()).hexdigest(),
        "model": model.path,
        "stored": stored,
        "config": {k: v for k, v in config.to_dict().items() if k not in ("batch_size", "precision")},
    }
    if distributed.is_main_process():
        parts.mkdir(parents=True, exist_ok=True)
        known = parts / "about.json"
        if known.is_file() and json.loads(known.read_text(encoding="utf-8")) != about:
            raise UsageError(f"{str(parts)!r} is the rest of a run with other vectors or settings: remove it")
        if not known.is_file():
            write_json(known, about)
    distributed.barrier()
    done = distributed.broadcast_object(_done(parts))
    left = [row for row in range(len(vectors_NZ)) if row not in done]
    mine = distributed.split_between_processes(len(left))
    rows = left[mine.start : mine.stop]
    with open(parts / f"{distributed.rank()}-{uuid.uuid4().hex[:12]}.jsonl", "x", encoding="utf-8") as file:

        def on_each(event: Any) -> None:
            if isinstance(event, Ended):
                found = event.found
                line = (event.row, found.text, found.score, found.verified, found.calls, found.forwards, found.stopped)
                file.write(json.dumps(dict(zip(COLUMNS, line, strict=True)), ensure_ascii=False) + "\n")
                file.flush()
            if on_progress is not None:
                on_progress(event)

        if rows:
            model.invert(vectors_NZ[rows], config, rows=rows, stored=stored, on_progress=on_each)
    distributed.barrier()
    done = _done(parts)
    distributed.barrier()
    table = [done[row] for row in sorted(done)]
    if len(table) < len(vectors_NZ):  # seconds ran out: the folder stays, and the same call goes on
        return table
    if distributed.is_main_process():
        write_text(path, _csv(table) if path.suffix == ".csv" else _jsonl(table))
        shutil.rmtree(parts)
    distributed.barrier()
    return table


def _done(parts: Path) -> dict[int, dict[str, Any]]:
    """Rows that are finished; a line that a dying process left half is none."""
    found = {}
    for file in sorted(parts.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").split("\n"):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and set(row) == set(COLUMNS):
                found[row["row"]] = row
    return found


def _jsonl(table: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table)


def _csv(table: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue()
