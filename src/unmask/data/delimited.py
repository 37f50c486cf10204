"""CSV and TSV: which sign stands between the cells, and whether the first row holds names."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from statistics import median
from typing import Any, BinaryIO

from unmask.core.errors import UsageError
from unmask.data.columns import LOOK, NOTHING, TEXT, CellKinds, cell_kind, shown, survey, usual_name
from unmask.data.encodings import HEAD
from unmask.data.sources import InMemorySource, Source
from unmask.data.tables import Table

_DELIMITERS = (",", ";", "\t", "|")
# stands in no file: every line is one cell, quoted or not
_NONE = "\x1f"
_SEP = re.compile(r'"?sep=(.)"?[\r\n]*$', re.IGNORECASE)
# whole books lie in cells; longer ones than this are refused row by row
_LONGEST = 2**27


class Delimited(Table):
    """A CSV or TSV file; its rows are read into memory.

    Args:
        file: its bytes in UTF-8.
        where: its name for messages.
        tabs: whether its name says that tabs stand between the cells.

    Raises:
        UsageError: most rows have more cells than the first one.
    """

    def __init__(self, file: BinaryIO, where: str, tabs: bool = False) -> None:
        self._file, self.where = file, where
        self._skip = 0
        self._dialect = self._find(tabs)
        self._named = True
        with self._records() as records:
            self._header = [name.strip() for name in next(records, None) or []]

    def names(self, wanted: tuple[str, ...] | None, usual: Sequence[str]) -> None:
        """Take the first row as names unless the columns that are wanted are numbers; refuse it where it is in doubt.

        Raises:
            UsageError: the first row looks like data, or has a name twice.
        """
        if wanted:
            if all(name.isdecimal() for name in wanted) and not set(wanted) & set(self._header):
                self._named = False
        elif not any(usual_name(name, usual) for name in self._header):
            self._doubt()
        for name in wanted or [name for name in self._header if usual_name(name, usual)]:
            if self._header.count(name) > 1:
                raise UsageError(f"{self.where} has two columns called {name!r}: rename one")

    def look(self) -> tuple[CellKinds, bool]:
        rows, whole = self._some()
        found = survey(dict(zip(self._columns(), row, strict=False)) for row in rows)
        return {name: found.get(name, survey([{name: None}])[name]) for name in self._columns()}, whole

    def read(self, columns: tuple[str, ...]) -> Source:
        names = self._columns()
        for column in columns:
            if column not in names:  # a file beside others
                raise UsageError(
                    f"{self.where} has no column {column!r}: its first row is {', '.join(map(shown, names[:20]))}"
                )
        where, width = [names.index(c) for c in columns], len(names)
        rows: list[tuple[Any, ...]] = []
        with self._records() as records:
            if self._named:
                next(records, None)
            for cells in records:
                # surplus cells: a text with the delimiter in it stands without quotes, and is cut somewhere
                if cells is None or any(cell.strip() for cell in cells[width:]):
                    rows.append((None,) * len(columns))
                else:
                    rows.append(tuple(cells[i] if i < len(cells) else None for i in where))
        self._file.close()
        return InMemorySource(rows)

    def _columns(self) -> list[str]:
        return self._header if self._named else [str(i) for i in range(len(self._header))]

    def _some(self) -> tuple[list[list[str]], bool]:
        """The first rows under the names, and whether they are all."""
        with self._records() as records:
            rows = list(islice(records, LOOK + 1))
        return [row for row in rows[self._named :] if row is not None], len(rows) <= LOOK

    def _doubt(self) -> None:
        rows, _ = self._some()
        names = [name for name in self._header if name]
        if not rows or names == [str(i) for i in range(len(names))]:  # as pandas names columns without names
            return
        data = [name for name in names if _reads_like_data(name)]
        for at, name in enumerate(self._header):
            below = [row[at].strip() for row in rows if at < len(row) and row != self._header]
            if name and name in below:
                data.append(name)
            texts = [len(cell) for cell in below if cell_kind(cell) == TEXT]
            # with one column only a name that is much shorter than what stands below it is surely one
            if len(self._header) == 1 and texts and median(texts) < max(12, 2 * len(name)):
                data.append(name)
        if data:
            raise UsageError(
                f"the first row of {self.where} may be data, not names ({data[0][:40]!r}): give column= the name that "
                "stands there, or a number (0 for the first) if the file has no names"
            )

    @contextmanager
    def _records(self, **dialect: Any) -> Iterator[Iterator[list[str] | None]]:
        """The rows that are not blank, the names among them; None for one that cannot be read."""
        self._file.seek(0)
        text = io.TextIOWrapper(self._file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        longest = csv.field_size_limit(_LONGEST)
        try:
            yield self._rows(text, dialect or self._dialect, whole=True)
        finally:
            csv.field_size_limit(longest)
            text.detach()

    def _rows(self, lines: Iterable[str], dialect: dict[str, Any], whole: bool = False) -> Iterator[list[str] | None]:
        quotes = 0

        def given() -> Iterator[str]:
            nonlocal quotes
            for line in islice(lines, self._skip, None):
                quotes += line.count('"') - (line.count('\\"') if dialect.get("escapechar") else 0)
                # Python 3.10's reader gives up at a NUL; another control character is counted and removed all the same
                yield line.replace("\0", "\x01")

        reader = csv.reader(given(), **dialect)
        opened = 0
        while True:
            before, quotes = reader.line_num, 0
            try:
                cells = next(reader)
            except StopIteration:
                if opened and whole and dialect.get("quoting") != csv.QUOTE_NONE:
                    line = f"line {opened + self._skip:,} of {self.where}"
                    raise UsageError(f"{line} opens a quote that is never closed") from None
                return
            except csv.Error:
                if dialect.get("strict"):
                    raise
                yield None
                continue
            # the last row of all takes in the rest of the file where its quote stays open
            opened = before + 1 if reader.line_num - before > 1 and quotes % 2 else 0
            if cells:
                yield cells

    def _find(self, tabs: bool) -> dict[str, Any]:
        """The settings of :func:`csv.reader` under which most rows have as many cells as the first one."""
        self._file.seek(0)
        head = self._file.read(HEAD)
        text = head.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")
        lines = io.StringIO(text, newline="").readlines()
        if len(head) == HEAD and len(lines) > 1:
            lines.pop()
        said = _SEP.match(lines[0]) if lines else None
        if said:
            self._skip = 1
        order = (said[1],) if said else ("\t", *(d for d in _DELIMITERS if d != "\t")) if tabs else _DELIMITERS
        escapes = (None, "\\") if '\\"' in text else (None,)
        found = [self._score(lines, delimiter, escape) for delimiter in order for escape in escapes]
        fits = [(score, settings) for score, settings in found if score[1] > 1]
        if not fits:
            return self._one_column(lines, order)
        (fit, _, _), best = max(fits, key=lambda f: (round(f[0][0], 1), f[0][2], f[0][1]))
        if best["delimiter"] == "\t" and not self._quoted(best):
            best = {**best, "quoting": csv.QUOTE_NONE}
        self._surplus(lines, best)
        return best

    def _score(
        self, lines: list[str], delimiter: str, escape: str | None
    ) -> tuple[tuple[float, int, bool], dict[str, Any]]:
        """(share of rows with as many cells as the first, cells of the first, no quote stands astray)."""
        settings: dict[str, Any] = {"delimiter": delimiter, "escapechar": escape, "doublequote": escape is None}
        rows = self._parsed(lines, settings)
        if not rows:
            return (0.0, 0, False), settings
        width = len(rows[0])
        if width > 1 and all(cell.startswith(" ") for cell in rows[0][1:]):
            settings["skipinitialspace"] = True
            rows = self._parsed(lines, settings)
        same = [len(row) == width or (len(row) > width and not any(row[width:])) for row in rows[1:]]
        try:
            self._parsed(lines, {**settings, "strict": True})
            clean = True
        except csv.Error:
            clean = False
        return (sum(same) / len(same) if same else 1.0, width, clean), settings

    def _parsed(self, lines: list[str], settings: dict[str, Any]) -> list[list[str]]:
        return [row for row in islice(self._rows(lines, settings), LOOK) if row]

    def _quoted(self, settings: dict[str, Any]) -> bool:
        """Whether quotes in a file with tabs are quotes: most such files have none, and a text may begin with one."""
        try:
            with self._records(**settings, strict=True) as records:
                for _ in records:
                    pass
        except (csv.Error, UsageError):
            return False
        return True

    def _one_column(self, lines: list[str], order: Sequence[str]) -> dict[str, Any]:
        """Settings for a file whose first row is one cell: the other rows are too, whatever stands in them."""
        for delimiter in order:
            rows = self._parsed(lines, {"delimiter": delimiter})[1:]
            widths = {len(row) for row in rows}
            if len(rows) > 2 and len(widths) == 1 and widths.pop() > 1:
                raise UsageError(
                    f"the first row of {self.where} has one cell and all others have {len(rows[0])} "
                    f"({delimiter!r} between): put a name above every column, or quotes around the texts"
                )
        return {"delimiter": _NONE}

    def _surplus(self, lines: list[str], settings: dict[str, Any]) -> None:
        rows = self._parsed(lines, settings)
        width = len(rows[0])
        more = [row for row in rows[1:] if any(cell.strip() for cell in row[width:])]
        if len(rows) > 3 and 2 * len(more) > len(rows) - 1:
            raise UsageError(
                f"the first row of {self.where} has {width} cells and most others have more, {len(more[0])} for one "
                f"({settings['delimiter']!r} between): put a name above every column, or quotes around the texts"
            )


def _reads_like_data(name: str) -> bool:
    """Whether a cell of the first row is no name of a column: a number, an address, a date, a sentence."""
    if cell_kind(name) not in (TEXT, NOTHING, "ids"):
        return True
    words = name.split()
    return len(words) > 3 or len(name) > 40 or (len(words) > 1 and name[-1] in ".!?")
