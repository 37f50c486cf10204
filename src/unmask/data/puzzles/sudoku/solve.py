"""Solutions of many boards at once: naked and hidden singles on bit masks, then search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.data.puzzles.search import Masks, search
from unmask.data.puzzles.sudoku.layout import Layout

Boards = NDArray[np.uint8]


@dataclass(frozen=True)
class SudokuRules:
    """Every row, column and box holds each digit once."""

    layout: Layout

    def step(self, cand_CW: Masks, owner_W: NDArray[np.int64]) -> NDArray[np.bool_]:
        """One pass of naked singles and one of hidden singles (see :class:`unmask.data.puzzles.search.Rules`)."""
        size, (high, wide), full = self.layout.size, self.layout.box, self.layout.full
        width = cand_CW.shape[1]
        grid = cand_CW.reshape(size, size, width)
        boxed = (size // high, high, size // wide, wide, width)

        decided = (cand_CW & (cand_CW - 1)) == 0
        single = (cand_CW * decided).reshape(size, size, width)
        row, column = np.bitwise_or.reduce(single, 1), np.bitwise_or.reduce(single, 0)
        box = np.bitwise_or.reduce(single.reshape(boxed), (1, 3))
        # Single candidates are powers of two, so that their sum is their union unless two are the same.
        twice = np.add.reduce(single, 1, dtype=np.uint16) != row
        twice |= np.add.reduce(single, 0, dtype=np.uint16) != column
        twice |= (np.add.reduce(single.reshape(boxed), (1, 3), dtype=np.uint16) != box).reshape(size, width)
        seen = row[:, None] | column[None]
        seen.reshape(boxed)[...] |= box[:, None, :, None]
        seen &= ~single
        grid &= ~seen

        lone = self._lone(*(grid[:, i] for i in range(size)))
        lone_row, has_row = lone
        lone_column, has_column = self._lone(*(grid[i] for i in range(size)))
        five = grid.reshape(boxed)
        lone_box, has_box = self._lone(*(five[:, i, :, j] for i in range(high) for j in range(wide)))
        only = lone_row[:, None] | lone_column[None]
        only.reshape(boxed)[...] |= lone_box[:, None, :, None]
        only &= grid
        np.copyto(grid, only, where=only != 0)

        missing = (has_row != full) | (has_column != full) | (has_box != full).reshape(size, width)
        return ~(missing | twice).any(axis=0)

    @staticmethod
    def _lone(*cells: Masks) -> tuple[Masks, Masks]:
        """The digits that exactly one of the cells may hold, and those that any may."""
        once, more = cells[0].copy(), np.zeros_like(cells[0])
        for cell in cells[1:]:
            more |= once & cell
            once |= cell
        return once & ~more, once


def candidates(layout: Layout, board_BC: Boards) -> Masks:
    """Masks [C, B] to start from: the digit's bit where one is given (1..size), every digit where 0 stands."""
    bit = np.concatenate([[layout.full], 1 << np.arange(layout.size)]).astype(np.uint16)
    return bit[np.ascontiguousarray(board_BC.T)]


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


def valid(grid_BC: Boards) -> NDArray[np.bool_]:
    """True where a grid is complete and every row, column and box holds each digit once."""
    layout = Layout.of_cells(grid_BC.shape[1])
    inside = ((grid_BC >= 1) & (grid_BC <= layout.size)).all(axis=1)
    bits = np.left_shift(1, np.where(inside[:, None], grid_BC, 1).astype(np.int64) - 1)
    return inside & (np.bitwise_or.reduce(bits[:, layout.units], axis=2) == layout.full).all(axis=1)
