"""Rows of text, wherever they lie: in memory, in the lines of a file, in an Arrow table.

A source gives raw cells by row number and never holds more than it must: a text or JSON-lines file is a memory map with
the offsets of its lines, an Arrow or Parquet table stays a memory map. Nothing here decides what a good row is; that is
:mod:`unmask.data.text`.
"""

from __future__ import annotations

import csv
import json
import mmap
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.core.errors import WrongUse, did_you_mean

#: column names tried in turn when the caller names none
USUAL = ("text", "sentence", "content", "document")


class Source(ABC):
    """Rows of one or two text cells.

    Attributes:
        keys: what the split goes by, int64 [rows], where rows have an identity of their own; None: their text.
        in_memory: True if the cells are Python objects already.
    """

    keys: NDArray[np.int64] | None = None
    in_memory = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def rows(self, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        """The cells of the rows asked for. A cell that could not be parsed is None; a missing text is ``""``."""


class Memory(Source):
    """Rows that are in memory."""

    in_memory = True

    def __init__(self, rows: list[tuple[Any, ...]], keys: Sequence[int] | None = None) -> None:
        self._rows = rows
        self.keys = None if keys is None else np.asarray(keys, np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        return [self._rows[i] for i in numbers]


class Lines(Source):
    """The lines of a text file, or one JSON object a line; read where they lie.

    Args:
        path: the file.
        columns: JSON fields, or None for plain text. Bytes that are not UTF-8 become lone surrogates.
    """

    def __init__(self, path: Path, columns: tuple[str, ...] | None = None) -> None:
        self.columns = columns
        with open(path, "rb") as file:
            empty = file.seek(0, 2) == 0
            self._bytes = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._ends = np.fromiter(self._line_ends(), np.int64)

    def _line_ends(self) -> Iterator[int]:
        end, size = 0, len(self._bytes)
        while end < size:
            found = self._bytes.find(b"\n", end)
            end = size if found < 0 else found + 1
            yield end

    def __len__(self) -> int:
        return len(self._ends)

    def rows(self, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        found = []
        for i in numbers:
            start = int(self._ends[i - 1]) if i else 0
            line = self._bytes[start : int(self._ends[i])].decode("utf-8", errors="surrogateescape")
            line = line.removeprefix("\ufeff") if start == 0 else line
            found.append((line,) if self.columns is None else self._fields(line, self.columns))
        return found

    @staticmethod
    def _fields(line: str, columns: tuple[str, ...]) -> tuple[Any, ...]:
        if not line.strip():
            return ("",) * len(columns)
        try:
            row = json.loads(line)
        except ValueError:
            return (None,) * len(columns)
        return tuple(row.get(c) for c in columns) if isinstance(row, dict) else (None,) * len(columns)


class Arrow(Source):
    """A ``datasets.Dataset``: memory-mapped Arrow."""

    def __init__(self, dataset: Any, columns: tuple[str, ...]) -> None:
        self._dataset, self._columns = dataset.with_format(None).select_columns(list(columns)), columns

    def __len__(self) -> int:
        return len(self._dataset)

    def rows(self, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        try:
            table = self._dataset[list(numbers)]
        except UnicodeDecodeError:
            if len(numbers) == 1:
                return [("\udcff",) * len(self._columns)]  # not UTF-8: counted as such
            return [row for i in numbers for row in self.rows([i])]
        # Arrow's null is a missing text, not a broken row
        cells = [["" if cell is None else cell for cell in table[c]] for c in self._columns]
        return list(zip(*cells, strict=True))


def read_file(path: Path, column: tuple[str, ...] | None) -> Source:
    """A ``.txt``, ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet`` file.

    Raises:
        WrongUse: another ending, or a column that the file lacks.
    """
    kind = path.suffix.lower()
    if kind == ".txt":
        if column is not None:
            raise WrongUse(f"{path} is plain text and has no column {column[0]!r}: leave column out")
        return Lines(path)
    if kind in (".jsonl", ".ndjson"):
        return Lines(path, choose(_json_columns(path), column, str(path)))
    if kind in (".csv", ".tsv"):
        return _read_csv(path, "\t" if kind == ".tsv" else ",", column)
    if kind == ".parquet":
        return _read_tables([path], "parquet", column, str(path))
    raise WrongUse(f"{path} ends in {kind or 'nothing'}: text files end in .txt, .jsonl, .csv, .tsv or .parquet")


def read_folder(path: Path, column: tuple[str, ...] | None, split: str) -> Source:
    """A folder written by ``save_to_disk``, or one of Parquet or Arrow files; it stays on disk.

    Raises:
        WrongUse: the folder is neither, or lacks the split or the column.
    """
    if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
        import datasets
        import pyarrow

        try:
            found = datasets.load_from_disk(str(path))
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise WrongUse(f"{path} cannot be read as a saved dataset: {str(error).splitlines()[0]}") from error
        if isinstance(found, datasets.DatasetDict):
            if split not in found:
                raise WrongUse(f"{path} has no split {split!r}: {did_you_mean(split, found)}")
            found = found[split]
        return _arrow(found, column, str(path))
    for kind in ("parquet", "arrow"):
        files = sorted(path.rglob(f"*.{kind}"))
        named = [f for f in files if split in f.relative_to(path).as_posix()]
        if files:
            return _read_tables(named or files, kind, column, str(path))
    raise WrongUse(f"{path} holds no dataset: a folder from save_to_disk, or *.parquet or *.arrow files, is wanted")


def read_hub(name: str, column: tuple[str, ...] | None, split: str) -> Source:
    """A dataset of the hub, ``owner/name`` or ``owner/name:configuration``.

    Raises:
        WrongUse: the hub has no such dataset, or cannot be reached.
    """
    import datasets

    repo, _, configuration = name.partition(":")
    try:
        found = datasets.load_dataset(repo, configuration or None, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().split("\n")[0]
        raise WrongUse(f"{name!r} is no file, folder or corpus here, and the hub did not give it: {reason}") from error
    return _arrow(found, column, name)


def choose(present: Sequence[str], wanted: tuple[str, ...] | None, where: str) -> tuple[str, ...]:
    """The columns to read: those wanted, else the usual name, else the only one.

    Raises:
        WrongUse: a wanted column is not there, or it is not clear which is meant.
    """
    shown = [name[:40] for name in present[:20]]  # a header may be anything
    for column in wanted or ():
        if column not in present:
            raise WrongUse(f"{where} has no column {column!r}: {did_you_mean(column, shown)}")
    if wanted:
        return wanted
    usual = [c for c in USUAL if c in present]
    if not usual and len(present) != 1:
        raise WrongUse(f"which column of {where} is the text? column= one of {', '.join(shown) or 'none'}")
    return (usual[0] if usual else present[0],)


def _json_columns(path: Path) -> list[str]:
    """Fields that hold text in the first object of a JSON-lines file."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as lines:
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                return [name for name, cell in row.items() if isinstance(cell, str)]
    return []


def _read_csv(path: Path, delimiter: str, column: tuple[str, ...] | None) -> Source:
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        # Python 3.10's reader gives up at a NUL; another control character is counted and removed all the same
        reader = csv.reader((line.replace("\0", "\x01") for line in file), delimiter=delimiter)
        header = next(reader, [])
        columns = choose(header, column, str(path))
        where = [header.index(c) for c in columns]
        rows: list[tuple[Any, ...]] = []
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return Memory(rows)
            except csv.Error:
                rows.append((None,) * len(columns))
                continue
            if cells:
                rows.append(tuple(cells[i] if i < len(cells) else None for i in where))


def _read_tables(files: Sequence[Path], kind: str, column: tuple[str, ...] | None, where: str) -> Source:
    import datasets
    import pyarrow
    from pyarrow import parquet

    names = [str(f) for f in files]
    try:
        for name in names if kind == "parquet" else ():
            parquet.read_schema(name)  # datasets would log a damaged file before it says so
        found = datasets.load_dataset(kind, data_files={"train": names}, split="train")
    except (OSError, ValueError, pyarrow.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise WrongUse(f"{where} cannot be read as {kind}: {' '.join(str(error).split())}") from error
    return _arrow(found, column, where)


def _arrow(dataset: Any, column: tuple[str, ...] | None, where: str) -> Source:
    textual = [n for n, f in dataset.features.items() if getattr(f, "dtype", None) in ("string", "large_string")]
    return Arrow(dataset, choose(textual, column, where))
