"""Boards of our own with exactly one solution: random complete grids, then cells taken away while one solution is left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unmask.core.errors import UnmaskError, WrongUse
from unmask.data.puzzles.search import search
from unmask.data.puzzles.sudoku.layout import Layout
from unmask.data.puzzles.sudoku.solve import Boards, SudokuRules, candidates, digits

#: the fewest givens a board may be asked for; below, too few random boards get there (4x4 and 6x6: the true minimum is 4 and 8)
FEWEST = {4: 4, 6: 8, 9: 20}


def grids(layout: Layout, n: int, rng: np.random.Generator) -> Boards:
    """``n`` random complete grids [n, C].

    Every grid can occur; they are not exactly uniform (a depth-first search with random branching fills the board).
    """
    start = np.zeros((n, layout.cells), dtype=np.uint8)
    first = layout.units[0]
    start[:, first] = rng.permuted(np.tile(np.arange(1, layout.size + 1, dtype=np.uint8), (n, 1)), axis=1)
    count, mask = search(SudokuRules(layout), candidates(layout, start), 1, rng)
    if not count.all():
        raise UnmaskError("the grid search ended without a grid, which cannot happen; please report it")
    return digits(mask)


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
    n, cells = grid_BC.shape
    given = np.ones((n, cells), dtype=bool)
    order = rng.permuted(np.tile(np.arange(cells), (n, 1)), axis=1)
    at = np.zeros(n, dtype=np.int64)  # how far each board has come in its order
    alone = np.zeros(n, dtype=np.int64)  # cells still to be tried one by one after a group failed
    active = np.nonzero(target_B < cells)[0]
    while active.size:
        left = cells - given[active].shape[1] + given[active].sum(axis=1)
        # Far from minimal nearly every removal works, so that groups are tried first.
        group = np.clip((left - 0.4 * cells) // 5, 1, None).astype(np.int64)
        group = np.where(alone[active] > 0, 1, group)
        group = np.minimum(np.minimum(group, left - target_B[active]), cells - at[active])
        slot = np.arange(group.max())
        inside = slot[None] < group[:, None]
        chosen = np.take_along_axis(order[active], np.minimum(at[active, None] + slot, cells - 1), axis=1)
        trial = given[active]
        rows = np.nonzero(inside)
        trial[rows[0], chosen[inside]] = False
        cand = candidates(layout, np.where(trial, grid_BC[active], 0).astype(np.uint8))
        # One cell: its old digit is forbidden and any solution is one too many. A group: a second one is.
        one = np.nonzero(group == 1)[0]
        cell = chosen[one, 0]
        cand[cell, one] &= ~(1 << (grid_BC[active[one], cell].astype(np.uint16) - 1)).astype(np.uint16)
        allowed = np.where(group == 1, 0, 1)
        count, _ = search(rules, cand, allowed + 1)
        works = count == allowed
        given[active[works]] = trial[works]
        tried = works | (group == 1)
        at[active[tried]] += group[tried]
        alone[active[tried]] -= 1
        alone[active[~tried]] = group[~tried]
        done = (at[active] >= cells) | (given[active].sum(axis=1) <= target_B[active])
        active = active[~done]
    return given


def target_givens(layout: Layout, givens: int | tuple[int, int] | None, n: int, rng: np.random.Generator) -> NDArray:
    """A number of givens for each board: fixed, uniform in a closed range, or 0 for minimal boards.

    Raises:
        WrongUse: outside what boards of this size can have.
    """
    if givens is None:
        return np.zeros(n, dtype=np.int64)
    low, high = (givens, givens) if isinstance(givens, int) else givens
    fewest = FEWEST[layout.size]
    if not fewest <= low <= high < layout.cells:
        raise WrongUse(
            f"givens {givens} do not fit a {layout.size}x{layout.size} board: "
            f"write a number or a range within {fewest} to {layout.cells - 1}"
        )
    return rng.integers(low, high + 1, n)
