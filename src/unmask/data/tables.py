"""Rows whose column of texts is still to be chosen: a table shows some of them, then becomes a source of one or two."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

from unmask.data.columns import LOOK, CellKinds, choose_columns
from unmask.data.sources import Source


class Table(ABC):
    """Rows with named columns.

    Attributes:
        where: the name for messages.
        note: as in :class:`unmask.data.sources.Source`.
    """

    where = ""
    note = ""

    @abstractmethod
    def look(self) -> tuple[CellKinds, bool]:
        """The kinds of values in every column, and whether every row was looked at."""

    @abstractmethod
    def read(self, columns: tuple[str, ...]) -> Source:
        """The rows of these columns.

        Raises:
            UsageError: they cannot be read.
        """

    def names(self, wanted: tuple[str, ...] | None, usual: Sequence[str]) -> None:  # noqa: B027
        """Decide whether the first row holds names, where that is a question.

        Raises:
            UsageError: it is not clear.
        """


def source_of(
    tables: Sequence[Table], wanted: tuple[str, ...] | None, where: str, usual: Sequence[str]
) -> list[Source]:
    """Every table's rows of the columns that all of them together suggest.

    Raises:
        UsageError: see :func:`unmask.data.columns.choose_columns`.
    """
    found: CellKinds = {}
    complete = True
    for table in tables:
        table.names(wanted, usual)
        theirs, whole = table.look()
        complete &= whole
        for name, kinds in theirs.items():
            found.setdefault(name, Counter()).update(kinds)
    columns = choose_columns(found, wanted, where, complete=complete, usual=usual)
    return [table.read(columns) for table in tables]


def spread_rows(total: int) -> list[int]:
    """Numbers of some hundred rows: the first ones, and others spread evenly over the rest, the last among them."""
    if total <= LOOK:
        return list(range(total))
    first = LOOK // 3
    rest = LOOK - first
    return [*range(first), *(first + i * (total - 1 - first) // (rest - 1) for i in range(rest))]
