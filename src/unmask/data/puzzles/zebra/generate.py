"""Zebra puzzles of our own: a random solution, random true clues, then all clues taken away that can be spared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.data.puzzles.search import POPCOUNT, search
from unmask.data.puzzles.thinning import thin
from unmask.data.puzzles.zebra.rules import KINDS, NOT, ZebraRules, holds

#: share of clues that name a house ("is in house 3", "is not in house 3", "is left of house 3")
_HOUSE_SHARE = 0.12


@dataclass(frozen=True)
class Zebras:
    """B puzzles of one size.

    Attributes:
        houses, attributes: E and A.
        home_BI: the house of each of the A * E items.
        clue_BK3: (kind, x, y) of each clue; kind 0 fills unused slots, which come last.
    """

    houses: int
    attributes: int
    home_BI: NDArray[np.int64]
    clue_BK3: NDArray[np.int64]

    @property
    def rules(self) -> ZebraRules:
        return ZebraRules(self.houses, self.attributes, np.ascontiguousarray(self.clue_BK3.transpose(1, 2, 0)))

    def __getitem__(self, rows: NDArray) -> Zebras:
        return Zebras(self.houses, self.attributes, self.home_BI[rows], self.clue_BK3[rows])


def count(zebras: Zebras, limit: int | NDArray[np.int64] = 2) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number of solutions of each puzzle, up to ``limit``, and the houses of the first one found (-1 if none)."""
    rules = zebras.rules
    found, mask = search(rules, rules.start(len(zebras.clue_BK3)), limit)
    house = np.full(1 << 7, -1, dtype=np.int64)
    house[1 << np.arange(7)] = np.arange(7)
    return found, house[mask[: -zebras.houses]].T


def generate(houses: int, attributes: int, n: int, rng: np.random.Generator) -> Zebras:
    """``n`` puzzles with one solution and no clue to spare, clues in random order."""
    parts = [_batch(houses, attributes, n, rng)]
    while (missing := n - sum(len(p.home_BI) for p in parts)) > 0:
        parts.append(_batch(houses, attributes, missing, rng))
    most = max(p.clue_BK3.shape[1] for p in parts)
    clues = [np.pad(p.clue_BK3, ((0, 0), (0, most - p.clue_BK3.shape[1]), (0, 0))) for p in parts]
    return Zebras(houses, attributes, np.concatenate([p.home_BI for p in parts]), np.concatenate(clues))


def _batch(houses: int, attributes: int, n: int, rng: np.random.Generator) -> Zebras:
    items = houses * attributes
    home = rng.random((n, attributes, houses)).argsort(axis=2).reshape(n, items)
    pool = Zebras(houses, attributes, home, _true_clues(houses, home, 3 * items, rng))
    pool = pool[count(pool)[0] == 1]

    def unique(active: NDArray[np.int64], trial: NDArray[np.bool_], last: NDArray[np.int64]) -> NDArray[np.bool_]:
        # A clue can be spared if the others have no solution together with its opposite.
        clues, one = pool.clue_BK3[active], np.nonzero(last >= 0)[0]
        clues[one, last[one], 0] += NOT
        trial[one, last[one]] = True
        allowed = np.where(last >= 0, 0, 1)
        found, _ = count(Zebras(houses, attributes, pool.home_BI[active], _packed(clues, trial)), allowed + 1)
        trial[one, last[one]] = False
        return found == allowed

    some = pool.clue_BK3[:, :, 0] > 0
    keep = thin(some, np.zeros(len(some), dtype=np.int64), 0.3, unique, rng)
    return Zebras(houses, attributes, pool.home_BI, _packed(pool.clue_BK3, keep))


def _packed(clue_BK3: NDArray[np.int64], keep_BK: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The kept clues moved to the front, slots that no puzzle uses cut off."""
    most = int(keep_BK.sum(axis=1).max(initial=1))
    order = (~keep_BK).argsort(axis=1, kind="stable")[:, :most]
    clues = np.where(keep_BK[:, :, None], clue_BK3, 0)
    return np.take_along_axis(clues, order[:, :, None], axis=1)


def _true_clues(houses: int, home_BI: NDArray[np.int64], clues: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Random clues [B, K, 3] that are true of the solution, each with a kind drawn evenly from those that fit."""
    n, items = home_BI.shape
    where = np.concatenate([home_BI, np.broadcast_to(np.arange(houses), (n, houses))], axis=1)
    x = rng.integers(0, items, (n, clues))
    y = (x + rng.integers(1, items, (n, clues))) % items
    y = np.where(rng.random((n, clues)) < _HOUSE_SHARE, items + rng.integers(0, houses, (n, clues)), y)
    x, y = np.where(rng.random((n, clues)) < 0.5, (x, y), (y, x))
    at_x, at_y = np.take_along_axis(where, x, axis=1), np.take_along_axis(where, y, axis=1)
    best, chosen = np.full((n, clues), -1.0), np.zeros((n, clues), dtype=np.int64)
    for kind in range(1, len(KINDS)):
        # Items of one attribute differ anyway, and so do two houses.
        fits = holds(kind, at_x, at_y) & ~((KINDS[kind] == "differs") & (x // houses == y // houses))
        lot = np.where(fits, rng.random((n, clues)), -1.0)
        chosen = np.where(lot > best, kind, chosen)
        best = np.maximum(best, lot)
    return np.where((chosen > 0)[:, :, None], np.stack([chosen, x, y], axis=2), 0)


def fill_order(zebras: Zebras) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order in which clue-by-clue reasoning finds the items' houses.

    Clues are gone through in turn, again and again; after each, singles within attributes are drawn. Where a whole
    round brings nothing, the item with the fewest houses left is settled by cases: it gets its house from the solution.

    Returns:
        (rank_BI, cases_B): ranks 1, 2, ... over the items, ties by item number; how often cases were needed.
    """
    rules = zebras.rules
    n, items = zebras.home_BI.shape
    cand = rules.start(n)
    tick_BI = np.full((n, items), np.iinfo(np.int64).max)
    cases_B = np.zeros(n, dtype=np.int64)
    tick = 0
    while True:
        before = cand.copy()
        for clue_3B in rules.clue_K3B:
            tick += 1
            rules.use(cand, clue_3B)
            rules.exclude(cand)
            found = (POPCOUNT[cand[:items]] == 1).T
            np.minimum(tick_BI, np.where(found, tick, tick_BI), out=tick_BI)
        if found.all():
            break
        stuck = np.nonzero((cand == before).all(axis=0) & ~found.all(axis=1))[0]
        size = POPCOUNT[cand[:items, stuck]]
        item = np.where(size > 1, size, 255).argmin(axis=0)
        cand[item, stuck] = (1 << zebras.home_BI[stuck, item]).astype(np.uint16)
        cases_B[stuck] += 1
    rank = tick_BI.argsort(axis=1, kind="stable").argsort(axis=1) + 1
    return rank, cases_B
