"""Canvases of a large corpus on disk: encoded once, by one process, and read where they lie by every other start."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from unmask.core import distributed
from unmask.core.files import replacing, write_json
from unmask.data.tokenizer import Canvases, encode_fixed

#: ids that take no more bytes than this stay in memory
IN_MEMORY = 2**28
_PARTS = ("ids", "lengths", "rows")


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
