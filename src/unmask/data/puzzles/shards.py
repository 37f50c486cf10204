"""Puzzles on disk: folders of small Arrow files that are written atomically, resumed, and memory-mapped.

A folder holds ``meta.json`` and ``00000.arrow``, ``00001.arrow``, ...: Arrow streams, as ``datasets`` writes and reads
them, with a row a puzzle and the columns *answer*, *given* and, where it is known, *rank*, each a fixed-size list of L
bytes. Shard i depends on the settings, the seed and i alone, so that an interrupted build goes on where it stopped and
ends with the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.core.errors import CheckpointError, UsageError
from unmask.core.files import replacing, write_json
from unmask.data.puzzles.puzzle import PUZZLES, Puzzle, PuzzleBatch

FORMAT = 2
COLUMNS = ("answer", "given", "rank")


def build(
    puzzle: Puzzle,
    n: int,
    *,
    out: str | Path,
    seed: int = 0,
    shard_size: int = 20_000,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """The folder of ``n`` puzzles, built or, after an interruption, finished.

    Args:
        puzzle: the kind with its settings; they are kept in ``meta.json``.
        n: number of puzzles.
        out: the folder; made if missing.
        seed: shard i draws from ``default_rng([seed, i])``.
        shard_size: puzzles in a file.
        workers: processes that write shards; their number changes nothing in the files.
        progress: called with (puzzles done, n) after each shard.

    Raises:
        UsageError: no puzzle, ``n`` < 1, a seed below 0, over 256 tokens, no folder, or one that holds puzzles made
            with other settings.
    """
    if not isinstance(puzzle, Puzzle):
        raise UsageError(f"{puzzle!r} is no puzzle: write PUZZLES.make({str(puzzle)!r})")
    if seed < 0:
        raise UsageError(f"seed={seed} must be 0 or more")
    if n < 1 or shard_size < 1:
        raise UsageError(f"n={n} puzzles in files of {shard_size} cannot be built: write numbers from 1 on")
    if puzzle.vocab_size > 256:
        raise UsageError(f"{puzzle} has {puzzle.vocab_size} tokens; puzzles are stored in bytes, which hold 256")
    folder = Path(out)
    if folder.is_file():
        raise UsageError(f"{folder} is a file: name a folder to write the puzzles to")
    settings = dataclasses.asdict(cast(Any, puzzle))
    meta = {"format": FORMAT, "puzzle": PUZZLES.name_of(puzzle), "settings": settings}
    meta |= {"n": n, "shard_size": shard_size, "seed": seed}
    if (folder / "meta.json").exists():
        old = _meta(folder)
        if differs := sorted(key for key in meta if old.get(key) != meta[key]):
            raise UsageError(f"{folder} holds puzzles built with other {', '.join(differs)}: choose another folder")
    write_json(folder / "meta.json", meta)
    sizes = [min(shard_size, n - start) for start in range(0, n, shard_size)]
    missing = [i for i in range(len(sizes)) if not (folder / f"{i:05d}.arrow").exists()]
    done = n - sum(sizes[i] for i in missing)
    write = partial(_write_shard, puzzle, folder, seed)
    with _processes(min(workers, len(missing))) as each:
        for count in each(write, missing, [sizes[i] for i in missing]):
            done += count
            if progress is not None:
                progress(done, n)
    return folder


@contextmanager
def _processes(workers: int) -> Iterator[Callable[..., Any]]:
    """A ``map`` over so many processes; the plain one where a single process does."""
    if workers < 2:
        yield map
        return
    # spawned: a forked child may inherit a lock that one of torch's threads holds
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield pool.map


def _write_shard(puzzle: Puzzle, folder: Path, seed: int, i: int, count: int) -> int:
    batch = puzzle.sample(count, np.random.default_rng([seed, i]))
    with replacing(folder / f"{i:05d}.arrow") as made:
        _write_arrow(batch, made)
    return count


def _write_arrow(batch: PuzzleBatch, path: Path) -> None:
    import pyarrow

    planes = [p for p in (batch.answer_BL, batch.given_BL, batch.rank_BL) if p is not None]
    lists = [pyarrow.FixedSizeListArray.from_arrays(p.numpy().astype(np.uint8).reshape(-1), p.shape[1]) for p in planes]
    rows = pyarrow.record_batch(lists, names=list(COLUMNS[: len(lists)]))
    with open(path, "wb") as file, pyarrow.ipc.new_stream(file, rows.schema) as stream:
        stream.write_batch(rows)


def _read_arrow(path: Path) -> list[NDArray[np.uint8]]:
    """The columns of a shard, [k, L] each, as views of the mapped file.

    Raises:
        FileNotFoundError: no such file. ValueError, OSError: it is no such stream.
    """
    import pyarrow

    table = pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()
    if table.column_names not in (list(COLUMNS[:2]), list(COLUMNS)):
        raise ValueError(f"its columns are {', '.join(table.column_names)}")
    lists = [column.chunk(0) for column in table.columns]
    return [part.values.to_numpy(zero_copy_only=True).reshape(len(part), -1) for part in lists]


def _meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads((folder / "meta.json").read_text())
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is no folder of puzzles: it has no meta.json") from error
    except ValueError as error:
        raise CheckpointError(f"{folder}/meta.json is damaged: {error}") from error
    if meta.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder} has format {meta.get('format')!r}, this version reads {FORMAT}: build it again"
        )
    return dict(meta)


class Shards:
    """A memory-mapped dataset of puzzles.

    Args:
        folder: what :func:`build` filled.

    Attributes:
        puzzle: the kind, with the settings it was built with.
        meta: what ``meta.json`` says.

    Raises:
        CheckpointError: no such folder, a shard missing (the build was interrupted: run it again), or a damaged one.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.meta = _meta(self.folder)
        self.puzzle = PUZZLES.make(self.meta["puzzle"], **self.meta["settings"])
        self._size = int(self.meta["shard_size"])
        self._maps: list[list[NDArray[np.uint8]]] = []
        for i, start in enumerate(range(0, len(self), self._size)):
            path = self.folder / f"{i:05d}.arrow"
            try:
                planes = _read_arrow(path)
            except FileNotFoundError as error:
                raise CheckpointError(f"{path} is missing: the build was interrupted, run it again") from error
            except (ValueError, OSError, IndexError) as error:
                raise CheckpointError(f"{path} is damaged ({error}): delete it and build again") from error
            if any(plane.shape != (min(self._size, len(self) - start), self.puzzle.length) for plane in planes):
                raise CheckpointError(f"{path} holds other puzzles than {self.folder}: delete it and build again")
            self._maps.append(planes)

    def __len__(self) -> int:
        return int(self.meta["n"])

    def describe(self) -> str:
        """What is in it, in words."""
        return f"{len(self):,} of {PUZZLES.spec_of(self.puzzle)}"

    def take(self, index_B: NDArray[np.int64] | Sequence[int]) -> PuzzleBatch:
        """The puzzles with these numbers, in this order.

        Raises:
            UsageError: a number that no puzzle has.
        """
        index_B = np.asarray(index_B, dtype=np.int64)
        if len(index_B) and not 0 <= index_B.min() <= index_B.max() < len(self):
            raise UsageError(
                f"puzzles {index_B.min()} to {index_B.max()} are asked for; there are 0 to {len(self) - 1}"
            )
        out = np.empty((len(self._maps[0]), len(index_B), self.puzzle.length), dtype=np.uint8)
        shard = index_B // self._size
        for i in np.unique(shard):
            rows = np.nonzero(shard == i)[0]
            for plane, mapped in zip(out, self._maps[i], strict=True):
                plane[rows] = mapped[index_B[rows] - i * self._size]
        answer, given, *rank = torch.from_numpy(out).long()
        return PuzzleBatch(answer, given.bool(), rank[0] if rank else None)

    def batch(self, size: int, seed: int, step: int, augment: bool = True) -> PuzzleBatch:
        """Batch number ``step`` of an endless, shuffled stream: a function of its arguments only, so runs resume.

        Every puzzle comes once an epoch (a last batch that would be short is left out), as a new symmetric copy.

        Raises:
            UsageError: ``size`` exceeds the number of puzzles, or a seed or step below 0.
        """
        if min(seed, step) < 0:
            raise UsageError(f"seed={seed} and step={step} must be 0 or more")
        if not 1 <= size <= len(self):
            raise UsageError(f"batches of {size} cannot be taken from {len(self)} puzzles in {self.folder}")
        epoch, place = divmod(step, len(self) // size)
        order = self._shuffled(seed, epoch)
        batch = self.take(order[place * size : (place + 1) * size])
        return self.puzzle.augment(batch, np.random.default_rng([seed, 1, step])) if augment else batch

    def stream(self, size: int, seed: int, start: int = 0, augment: bool = True) -> Iterator[PuzzleBatch]:
        """:meth:`batch` number ``start``, ``start`` + 1, ... without end."""
        step = start
        while True:
            yield self.batch(size, seed, step, augment)
            step += 1

    def _shuffled(self, seed: int, epoch: int) -> NDArray[np.int64]:
        key = (seed, epoch)
        if getattr(self, "_order_key", None) != key:
            self._order_key, self._order = key, np.random.default_rng([seed, 0, epoch]).permutation(len(self))
        return self._order
