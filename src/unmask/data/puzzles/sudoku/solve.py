"""Solutions of many boards at once: naked and hidden singles on bit masks, then search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.data.puzzles.search import POPCOUNT, Masks, propagate, search
from unmask.data.puzzles.sudoku.layout import Layout

Boards = NDArray[np.uint8]


@dataclass(frozen=True)
class SudokuRules:
    """Every row, column and box holds each digit once."""

    layout: Layout

    def step(self, cand_CW: Masks, owner_W: NDArray[np.int64]) -> NDArray[np.bool_]:
        """One pass of naked and one of hidden singles (see :class:`unmask.data.puzzles.search.ConstraintRules`)."""
        size, (high, wide), full = self.layout.size, self.layout.box, self.layout.full
        width = cand_CW.shape[1]
        grid = cand_CW.reshape(size, size, width)
        boxed = (size // high, high, size // wide, wide, width)

        single = np.where((cand_CW & (cand_CW - 1)) == 0, cand_CW, 0).reshape(size, size, width)
        (row, row2), (column, column2), (box, box2) = self._tally(single)
        twice = row2 | column2 | box2.reshape(size, width)
        seen = row[:, None] | column[None]
        seen.reshape(boxed)[...] |= box[:, None, :, None]
        grid &= ~(seen & ~single)

        (row, row2), (column, column2), (box, box2) = self._tally(grid)
        missing = full & ~(row & column & box.reshape(size, width))
        only = (row & ~row2)[:, None] | (column & ~column2)[None]
        only.reshape(boxed)[...] |= (box & ~box2)[:, None, :, None]
        only &= grid
        np.copyto(grid, only, where=only != 0)

        broken = twice | missing
        for line in broken[1:]:
            broken[0] |= line
        return np.asarray(broken[0] == 0)

    def _tally(self, grid: Masks) -> list[tuple[Masks, Masks]]:
        """For rows, columns and boxes: the digits that occur in any cell of a unit, and in two cells or more.

        Written as loops over whole arrays: NumPy's own reductions are twice as slow on these shapes.
        """
        size, (high, wide) = self.layout.size, self.layout.box
        five = grid.reshape(size // high, high, size // wide, wide, -1)
        found = []
        for cells in (
            [grid[:, i] for i in range(size)],
            [grid[i] for i in range(size)],
            [five[:, i, :, j] for i in range(high) for j in range(wide)],
        ):
            once, more = cells[0].copy(), np.zeros_like(cells[0])
            spare = np.empty_like(once)
            for cell in cells[1:]:
                np.bitwise_and(once, cell, out=spare)
                more |= spare
                once |= cell
            found.append((once, more))
        return found


def candidates(layout: Layout, board_BC: Boards) -> Masks:
    """Masks [C, B] to start from: the digit's bit where one is given (1..size), every digit where 0 stands."""
    bit = np.concatenate([[layout.full], 1 << np.arange(layout.size)]).astype(np.uint16)
    return bit.take(np.ascontiguousarray(board_BC.T))


def digits(mask_CB: Masks) -> Boards:
    """Boards [B, C] from masks with one bit (0 where the mask is empty)."""
    table = np.zeros(1 << 10, dtype=np.uint8)
    table[1 << np.arange(9)] = np.arange(1, 10)
    return np.ascontiguousarray(table[mask_CB].T)


def solve(board_BC: Boards, limit: int = 2) -> tuple[NDArray[np.int64], Boards]:
    """Number of solutions of each board, counted up to ``limit``, and the first one found (zeros if none).

    Args:
        board_BC: digits, 0 for a blank.
        limit: 2 is enough to tell "none", "one" and "several" apart.
    """
    layout = Layout.of_cells(board_BC.shape[1])
    count_B, mask_CB = search(SudokuRules(layout), candidates(layout, board_BC), limit)
    return count_B, digits(mask_CB)


def by_singles(board_BC: Boards) -> NDArray[np.bool_]:
    """True where naked and hidden singles alone fill the board."""
    layout = Layout.of_cells(board_BC.shape[1])
    cand_CB = candidates(layout, board_BC)
    alive_B = propagate(SudokuRules(layout), cand_CB, np.arange(len(board_BC)))
    return np.asarray(alive_B & (POPCOUNT[cand_CB] == 1).all(axis=0))


def valid(grid_BC: Boards) -> NDArray[np.bool_]:
    """True where a grid is complete and every row, column and box holds each digit once."""
    layout = Layout.of_cells(grid_BC.shape[1])
    inside = np.asarray(((grid_BC >= 1) & (grid_BC <= layout.size)).all(axis=1))
    bits = np.left_shift(1, np.where(inside[:, None], grid_BC, 1).astype(np.int64) - 1)
    complete = np.bitwise_or.reduce(bits[:, layout.units], axis=2) == layout.full
    return np.asarray(inside & complete.all(axis=1))
