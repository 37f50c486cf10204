"""Taking away what a puzzle can spare: givens of a sudoku, clues of a zebra puzzle, for many puzzles at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

#: unique(active_A, trial_AK, last_A): whether each trial still has one solution; last_A is the part just taken away
#: where it was a single one, else -1
Unique = Callable[[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]], NDArray[np.bool_]]


def thin(
    keep_BK: NDArray[np.bool_],
    floor_B: NDArray[np.int64],
    likely: float,
    unique: Unique,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Which parts are kept after removing them in random order as long as the solution stays unique.

    Groups are tried first, as long as many parts are left; where a group fails, its parts are tried one by one.

    Args:
        keep_BK: the parts each puzzle has; with all of them it has one solution.
        floor_B: stop a puzzle at that many parts; 0 makes it minimal.
        likely: above this share of all K parts, a removal works nearly always, so that groups are worth it.
        unique: see :data:`Unique`.
        rng: draws the orders.

    Returns:
        The parts kept. A puzzle whose order ends before its floor keeps more; none of them can be spared.
    """
    keep_BK = keep_BK.copy()
    n, parts = keep_BK.shape
    # Parts that a puzzle does not have come last in its order and are never tried.
    order_BK = np.argsort(rng.random((n, parts)) + ~keep_BK, axis=1)
    total_B = keep_BK.sum(axis=1)
    at_B = np.zeros(n, dtype=np.int64)
    alone_B = np.zeros(n, dtype=np.int64)
    active = np.nonzero(floor_B < total_B)[0]
    while active.size:
        left = keep_BK[active].sum(axis=1)
        group = np.clip((left - likely * parts) // 5, 1, None).astype(np.int64)
        group = np.where(alone_B[active] > 0, 1, group)
        group = np.minimum(np.minimum(group, left - floor_B[active]), total_B[active] - at_B[active])
        slot = np.arange(group.max())
        inside = slot[None] < group[:, None]
        chosen = np.take_along_axis(order_BK[active], np.minimum(at_B[active, None] + slot, parts - 1), axis=1)
        trial = keep_BK[active]
        trial[np.nonzero(inside)[0], chosen[inside]] = False
        works = unique(active, trial, np.where(group == 1, chosen[:, 0], -1))
        keep_BK[active[works]] = trial[works]
        tried = works | (group == 1)
        at_B[active[tried]] += group[tried]
        alone_B[active[tried]] -= 1
        alone_B[active[~tried]] = group[~tried]
        done = (at_B[active] >= total_B[active]) | (keep_BK[active].sum(axis=1) <= floor_B[active])
        active = active[~done]
    return keep_BK
