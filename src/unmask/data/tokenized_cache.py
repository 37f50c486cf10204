"""Texts as rows to train on: canvases, of a large corpus on disk, and the vectors of what they are written from.

Canvases are encoded once, by one process, and read where they lie by every other start.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unmask.core import distributed
from unmask.core.errors import UsageError
from unmask.core.files import replacing, write_json
from unmask.data.canvas import CanvasDataset
from unmask.data.latents import Encoder, cached_latents
from unmask.data.text import TextData
from unmask.data.tokenizer import Canvases, encode_fixed

#: ids that take no more bytes than this stay in memory
IN_MEMORY = 2**28
_PARTS = ("ids", "lengths", "rows")


@dataclass(frozen=True)
class Rows(Sequence[str]):
    """Some rows of a sequence of texts, read when asked for."""

    texts: Sequence[str]
    rows: Any

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Any) -> Any:
        return [self.texts[int(i)] for i in self.rows[at]] if isinstance(at, slice) else self.texts[int(self.rows[at])]


@dataclass(frozen=True)
class Side:
    """One side of a split, ready.

    Attributes:
        rows: canvases, with their vectors where there is an encoder.
        texts, sources: what each row writes, and what its vector is of.
    """

    rows: CanvasDataset
    texts: Rows
    sources: Rows


def both_sides(
    data: TextData,
    tokenizer: Any,
    encoder: Encoder | None,
    max_length: int,
    *,
    over_long: str,
    ends: bool,
    folder: Path,
    cache_dir: str | None = None,
    say: Callable[[str], None] = print,
) -> tuple[Side, Side]:
    """What is trained on and what is held out, as rows.

    Args:
        data: texts or pairs.
        tokenizer, max_length, over_long, ends, folder: see :func:`stored_canvases`.
        encoder, cache_dir: see :func:`unmask.data.latents.cached_latents`; None for rows without vectors.
        say: where one line a side goes.

    Raises:
        UsageError: no text of a side fits.
    """
    pairs, sides = (data.train_pairs, data.validation_pairs), []
    for name, texts, pair in zip(("train", "validation"), (data.train, data.validation), pairs, strict=True):
        mark = f"{name} {data.fingerprint}"
        made = stored_canvases(
            tokenizer, texts, max_length, over_long=over_long, fingerprint=mark, folder=folder, ends=ends
        )
        say(str(made))
        if not len(made):
            raise UsageError(f"length={max_length}: no text of {data.report.source!r} fits; raise it")
        sources = Rows(texts if pair is None else pair.sources, made.rows)
        sides.append((made, Rows(texts, made.rows), sources))
    # every text fits or is refused before the first is encoded
    latents = [None if encoder is None else cached_latents(sources, encoder, cache_dir) for *_, sources in sides]
    train, held_out = (
        Side(CanvasDataset(made.ids, made.lengths, vectors), texts, sources)
        for (made, texts, sources), vectors in zip(sides, latents, strict=True)
    )
    return train, held_out


def stored_canvases(
    tokenizer: Any,
    texts: Sequence[str],
    max_length: int,
    *,
    over_long: str,
    fingerprint: str,
    folder: Path,
    in_memory: int = IN_MEMORY,
    ends: bool = True,
) -> Canvases:
    """Canvases of clean texts (:func:`unmask.data.tokenizer.encode_fixed` without those that hold the mask).

    They lie in ``folder`` where the ids would take more than ``in_memory`` bytes.

    Args:
        tokenizer, texts, max_length, over_long, ends: as there.
        fingerprint: of the texts; with the tokenizer and the settings it says whether what lies there is theirs.
        folder: such as the run folder; what is begun in it is not there until it is whole.
        in_memory: bytes.
    """
    if len(texts) * max_length * 4 <= in_memory:
        return encode_fixed(tokenizer, texts, max_length, over_long=over_long, drop_masked=True, ends=ends)
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    says = (
        f"{fingerprint} {vocabulary} {tokenizer.eos_token_id} {tokenizer.pad_token_id} {max_length} {over_long} clean"
    )
    says += "" if ends else " without EOS"
    name = hashlib.sha256(says.encode()).hexdigest()[:16]
    stamp = folder / f"{name}.json"
    if distributed.is_main_process() and not stamp.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f".{name}.*.partial.npy"):  # by a process that was killed
            left.unlink()
        with ExitStack() as files:
            partial = {part: files.enter_context(replacing(folder / f"{name}.{part}.npy")) for part in _PARTS}
            made = encode_fixed(
                tokenizer, texts, max_length, over_long=over_long, drop_masked=True, spill=partial["ids"], ends=ends
            )
            np.save(partial["lengths"], made.lengths, allow_pickle=False)
            np.save(partial["rows"], made.rows, allow_pickle=False)
        write_json(stamp, {"rows": len(made), "over_long": made.over_long, "masked": made.masked, "empty": made.empty})
    distributed.barrier()
    said = json.loads(stamp.read_text(encoding="utf-8"))
    ids, lengths, rows = (
        np.load(folder / f"{name}.{part}.npy", mmap_mode="r", allow_pickle=False)[: said["rows"]] for part in _PARTS
    )
    return Canvases(ids, lengths, rows, said["over_long"], said["masked"], ends, said.get("empty", 0))
