"""Rows of text, wherever they lie: in memory, in the lines of a file, in an Arrow table.

A source gives raw cells by row number and never holds more than it must: a text or JSON-lines file is a memory map with
the offsets of its lines, an Arrow or Parquet table stays a memory map. Nothing here decides what a good row is; that is
:mod:`unmask.data.text`. Which source a name stands for is said in :mod:`unmask.data.files`.
"""

from __future__ import annotations

import mmap
import os
import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from unmask.data.columns import cell_of

_BLOCK = 2**20


class Source(ABC):
    """Rows of one or two text cells.

    Attributes:
        keys: what the split goes by, int64 [rows], where rows have an identity of their own; None: their text.
        in_memory: True if the cells are Python objects already.
        note: how the rows were got at, for a report; "" where there is nothing to say.
    """

    keys: NDArray[np.int64] | None = None
    in_memory = False
    note = ""

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    def plain(self) -> bool:
        """Whether the rows are the lines of plain text, with their ends."""
        return False

    @abstractmethod
    def rows(self, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        """The cells of the rows asked for. A cell that could not be parsed is None; a missing text is ``""``."""


class InMemorySource(Source):
    """Rows held in memory."""

    in_memory = True

    def __init__(self, rows: list[tuple[Any, ...]], keys: Sequence[int] | None = None) -> None:
        self._rows = rows
        self.keys = None if keys is None else np.asarray(keys, np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        return [self._rows[i] for i in numbers]


class Lines(Source):
    """The lines of a file in UTF-8, read where they lie; a line ends with LF, CRLF, or CR (old Macs).

    Nothing else ends a line: form feeds, U+2028 and their like stand in texts. A CR without LF ends a line where the
    file has more of them than it has LFs; otherwise it stands in the text too.

    Args:
        file: from :func:`unmask.data.encodings.open_utf8`; closed once it is mapped. Bytes that are not UTF-8 become
            lone surrogates.
        parse: cells of a line; None: the line itself, with its end.
    """

    def __init__(self, file: BinaryIO, parse: Callable[[str], tuple[Any, ...]] | None = None) -> None:
        self.parse = parse
        empty = os.fstat(file.fileno()).st_size == 0
        self._bytes = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        file.close()
        self._ends = np.fromiter(self._line_ends(), np.int64)

    def _line_ends(self) -> Iterator[int]:
        end, size = 0, len(self._bytes)
        if self._old_mac():
            for found in re.finditer(rb"\r\n|\r|\n", self._bytes):
                end = found.end()
                yield end
            if end < size:
                yield size
            return
        while end < size:
            at = self._bytes.find(b"\n", end)
            end = size if at < 0 else at + 1
            yield end

    def _old_mac(self) -> bool:
        if self._bytes.find(b"\r") < 0:
            return False
        alone = feeds = 0
        before = b""
        for start in range(0, len(self._bytes), _BLOCK):
            block = self._bytes[start : start + _BLOCK]
            alone += block.count(b"\r") - block.count(b"\r\n") - (before == b"\r" and block[:1] == b"\n")
            feeds += block.count(b"\n")
            before = block[-1:]
        return alone > feeds

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def plain(self) -> bool:
        return self.parse is None

    def line(self, number: int) -> str:
        """One line with its end, without a byte order mark."""
        start = int(self._ends[number - 1]) if number else 0
        line = self._bytes[start : int(self._ends[number])].decode("utf-8", errors="surrogateescape")
        return line.removeprefix("\ufeff") if start == 0 else line

    def rows(self, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        if self.parse is None:
            return [(self.line(i),) for i in numbers]
        return [self.parse(self.line(i)) for i in numbers]


class Arrow(Source):
    """A ``datasets.Dataset``: memory-mapped Arrow.

    Args:
        dataset: the table.
        columns: their names, dotted for what lies in a nested one.
    """

    def __init__(self, dataset: Any, columns: tuple[str, ...]) -> None:
        self._tops = [c if c in dataset.column_names else c.split(".")[0] for c in columns]
        self._dataset, self._columns = dataset.with_format(None).select_columns(sorted(set(self._tops))), columns

    def __len__(self) -> int:
        return len(self._dataset)

    def rows(self, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        try:
            table = self._dataset[list(numbers)]
        except UnicodeDecodeError:
            if len(numbers) == 1:
                return [("\udcff",) * len(self._columns)]  # not UTF-8: counted as such
            return [row for i in numbers for row in self.rows([i])]
        found = []
        for top, name in zip(self._tops, self._columns, strict=True):
            cells = table[top] if top == name else [cell_of({top: cell}, name) for cell in table[top]]
            # Arrow's null is a missing text, not a broken row
            found.append(["" if cell is None else cell for cell in cells])
        return list(zip(*found, strict=True))


class Several(Source):
    """The concatenation of several sources."""

    def __init__(self, parts: Sequence[Source]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *(len(part) for part in parts)]).tolist()
        self.in_memory = all(part.in_memory for part in parts)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def plain(self) -> bool:
        return all(part.plain for part in self._parts)

    def rows(self, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        at = 0
        while at < len(numbers):
            part = bisect_right(self._starts, numbers[at]) - 1
            start, stop = self._starts[part], self._starts[part + 1]
            end = at
            while end < len(numbers) and start <= numbers[end] < stop:
                end += 1
            found += self._parts[part].rows([i - start for i in numbers[at:end]])
            at = end
        return found
