"""Zebra puzzles as constraints: items live in houses, clues relate two items.

A puzzle has E houses in a row and A attributes with E values each; every house has one value of every attribute.
Items are numbered ``attribute * E + value``; after them come E pinned items, the houses themselves, so that "is in
house 3" is the clue "same house as house 3" and one form of clue serves all. A candidate mask holds bit h if the item
may live in house h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.data.puzzles.search import Masks

#: kinds of clues "x KIND y"; code 0 says nothing and fills unused slots
KINDS = ("", "same", "differs", "just left of", "left of", "beside", "apart")
#: the kinds that mean something else when x and y change places
ORDERED = ("just left of", "left of")
MOST_HOUSES = 6


#: added to a kind it says the opposite; only used to ask whether a clue can be spared
NOT = len(KINDS)


def holds(kind: NDArray | int, x: NDArray | int, y: NDArray | int) -> NDArray[np.bool_]:
    """Whether "x KIND y" is true of an item in house ``x`` and one in house ``y`` (``apart``: one house between)."""
    gap = np.asarray(y) - np.asarray(x)
    table = [gap == gap, gap == 0, gap != 0, gap == 1, gap > 0, abs(gap) == 1, abs(gap) == 2]
    return np.asarray(np.choose(kind, table))


def _support() -> Masks:
    """[kinds and their opposites, 2, 64]: the houses that x (side 0) or y (side 1) may have, given the other's mask."""
    table = np.zeros((2 * len(KINDS), 2, 1 << MOST_HOUSES), dtype=np.uint16)
    x, y = np.indices((MOST_HOUSES, MOST_HOUSES))
    member = (np.arange(1 << MOST_HOUSES) >> np.arange(MOST_HOUSES)[:, None]) & 1
    bit = 1 << np.arange(MOST_HOUSES)
    for kind in range(2 * NOT):
        fits = (holds(kind % NOT, x, y) ^ (kind >= NOT)).astype(np.int64)
        table[kind, 0] = bit @ (fits @ member > 0)
        table[kind, 1] = bit @ (fits.T @ member > 0)
    return table


SUPPORT = _support()


@dataclass(frozen=True)
class ZebraRules:
    """The rules of B puzzles of one size.

    Attributes:
        houses, attributes: E and A.
        clue_K3B: (kind, x, y) of each clue; kind 0 fills unused slots.
    """

    houses: int
    attributes: int
    clue_K3B: NDArray[np.int64]

    @property
    def items(self) -> int:
        """Rows of a candidate array: A * E items and E pinned houses."""
        return (self.attributes + 1) * self.houses

    def start(self, n: int) -> Masks:
        """Candidates [items, n] before any clue."""
        cand = np.full((self.items, n), (1 << self.houses) - 1, dtype=np.uint16)
        cand[-self.houses :] = (1 << np.arange(self.houses))[:, None]
        return cand

    def step(self, cand_CW: Masks, owner_W: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Every clue once, then singles of each attribute (see :class:`unmask.data.puzzles.search.ConstraintRules`)."""
        for clue_3W in self.clue_K3B.take(owner_W, axis=2):
            self.use(cand_CW, clue_3W)
        return self.exclude(cand_CW)

    @staticmethod
    def use(cand_CW: Masks, clue_3W: NDArray[np.int64]) -> None:
        """Apply one clue of each state, in place."""
        kind, x, y = clue_3W
        states = cand_CW.shape[1]
        assert cand_CW.flags.c_contiguous, "candidates must be stored cell-first"
        flat = cand_CW.reshape(-1)
        column, row = np.arange(states), kind * (2 << MOST_HOUSES)
        x, y = x * states + column, y * states + column
        at_y = flat.take(y)
        at_x = flat.take(x) & SUPPORT.take(row + at_y)
        flat[x] = at_x
        flat[y] = at_y & SUPPORT.take(row + (1 << MOST_HOUSES) + at_x)

    def exclude(self, cand_CW: Masks) -> NDArray[np.bool_]:
        """Naked and hidden singles within each attribute, in place; False where an attribute cannot be placed."""
        item = cand_CW[: -self.houses].reshape(self.attributes, self.houses, -1)
        single = np.where((item & (item - 1)) == 0, item, 0)
        once, more = single[:, 0].copy(), np.zeros_like(single[:, 0])
        for v in range(1, self.houses):
            more |= once & single[:, v]
            once |= single[:, v]
        broken = more
        item &= ~(once[:, None] & ~single)
        once, more = item[:, 0].copy(), np.zeros_like(item[:, 0])
        for v in range(1, self.houses):
            more |= once & item[:, v]
            once |= item[:, v]
        lone = (once & ~more)[:, None] & item
        np.copyto(item, lone, where=lone != 0)
        broken = (broken | (once ^ ((1 << self.houses) - 1))).any(axis=0)
        return ~broken & (cand_CW != 0).all(axis=0)
