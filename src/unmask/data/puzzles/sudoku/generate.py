"""Boards of our own with one solution: random complete grids, then cells taken away while one solution is left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unmask.core.errors import UsageError
from unmask.data.puzzles.search import complete, search
from unmask.data.puzzles.sudoku.layout import Layout
from unmask.data.puzzles.sudoku.solve import Boards, SudokuRules, candidates, digits
from unmask.data.puzzles.thinning import thin

#: the fewest givens a board may be asked for; taking cells away at random hardly ever gets below
FEWEST = {4: 4, 6: 9, 9: 22}


def grids(layout: Layout, n: int, rng: np.random.Generator) -> Boards:
    """``n`` random complete grids [n, C].

    Every grid can occur; they are not exactly uniform (see :func:`unmask.data.puzzles.search.complete`).
    """
    start = np.zeros((n, layout.cells), dtype=np.uint8)
    row = np.arange(1, layout.size + 1, dtype=np.uint8)
    start[:, : layout.size] = rng.permuted(np.tile(row, (n, 1)), axis=1)
    return digits(complete(SudokuRules(layout), candidates(layout, start), rng))


def dig(grid_BC: Boards, target_B: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which cells stay given: cells are taken away in random order as long as the solution stays the only one.

    Args:
        grid_BC: complete grids.
        target_B: stop a board at that many givens; 0 takes away all that can go (a minimal board).

    Returns:
        given_BC. A board whose order of removal ends before its target has more givens than asked for.
    """
    layout = Layout.of_cells(grid_BC.shape[1])
    rules = SudokuRules(layout)

    def unique(active: NDArray[np.int64], trial: NDArray[np.bool_], last: NDArray[np.int64]) -> NDArray[np.bool_]:
        cand = candidates(layout, np.where(trial, grid_BC[active], 0).astype(np.uint8))
        # One cell: its old digit is forbidden, and any solution is one too many. A group: a second one is.
        one = np.nonzero(last >= 0)[0]
        old = grid_BC[active[one], last[one]].astype(np.uint16)
        cand[last[one], one] &= ~(np.uint16(1) << (old - 1))
        allowed = np.where(last >= 0, 0, 1)
        count, _ = search(rules, cand, allowed + 1)
        return count == allowed

    return thin(np.ones(grid_BC.shape, dtype=bool), target_B, 0.4, unique, rng)


def target_givens(layout: Layout, givens: int | tuple[int, int] | None, n: int, rng: np.random.Generator) -> NDArray:
    """A number of givens for each board: fixed, uniform in a closed range, or 0 for minimal boards.

    Raises:
        UsageError: outside what boards of this size can have.
    """
    if givens is None:
        return np.zeros(n, dtype=np.int64)
    low, high = (givens, givens) if isinstance(givens, int) else givens
    fewest = FEWEST[layout.size]
    if not fewest <= low <= high < layout.cells:
        raise UsageError(
            f"givens {givens} do not fit a {layout.size}x{layout.size} board: "
            f"write a number or a range within {fewest} to {layout.cells - 1}"
        )
    return rng.integers(low, high + 1, n)
