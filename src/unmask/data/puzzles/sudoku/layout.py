"""The shape of a board: its side, its boxes, and which cells must differ."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from unmask.core.errors import UsageError

_BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}


@dataclass(frozen=True)
class Layout:
    """A board of ``size`` x ``size`` cells, numbered row by row; the digits are 1 to ``size``.

    Attributes:
        size: 4, 6 or 9; the boxes are 2x2, 2x3 and 3x3 (rows x columns).

    Raises:
        UsageError: another size.
    """

    size: int = 9

    def __post_init__(self) -> None:
        if self.size not in _BOXES:
            raise UsageError(f"sudoku boards have side 4, 6 or 9, not {self.size}")

    @property
    def box(self) -> tuple[int, int]:
        """Rows and columns of a box."""
        return _BOXES[self.size]

    @property
    def cells(self) -> int:
        return self.size * self.size

    @property
    def full(self) -> int:
        """The mask with every digit: bit d - 1 stands for digit d."""
        return (1 << self.size) - 1

    @cached_property
    def unit_of(self) -> NDArray[np.int64]:
        """[3, cells]: the row, the column and the box of each cell."""
        row, column = np.divmod(np.arange(self.cells), self.size)
        high, wide = self.box
        return np.stack([row, column, row // high * (self.size // wide) + column // wide])

    @cached_property
    def units(self) -> NDArray[np.int64]:
        """[3 * size, size]: the cells of each row, then of each column, then of each box."""
        return np.concatenate([np.argsort(u, kind="stable").reshape(self.size, self.size) for u in self.unit_of])

    def name(self, cell: int) -> str:
        """The cell as people write it: ``r1c3``."""
        return f"r{cell // self.size + 1}c{cell % self.size + 1}"

    @classmethod
    def of_cells(cls, cells: int) -> Layout:
        """The layout with that many cells.

        Raises:
            UsageError: no board has that many.
        """
        for size in _BOXES:
            if size * size == cells:
                return cls(size)
        raise UsageError(f"a sudoku board has 16, 36 or 81 cells, not {cells}")
