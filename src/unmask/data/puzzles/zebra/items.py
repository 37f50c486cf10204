"""Zebra puzzles as tokens, seen from the items: each item asks in which house it lives.

The canvas of a form for S houses and S attributes is S * S items (attribute by attribute), the S houses themselves
(given), then the clues as in :mod:`unmask.data.puzzles.zebra.canvas`, whose tokens it shares: an item holds the token
of its house. A clue then relates two *positions* of the canvas, the items it names, as "same row" relates two cells of
a Sudoku: what a network has to learn is what each kind of clue means, no longer how to look clues up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unmask.data.puzzles.relations import clue_relations
from unmask.data.puzzles.zebra.canvas import FIRST_ITEM, FIRST_KIND, NOTHING, Form, Tokens
from unmask.data.puzzles.zebra.generate import Zebras


@dataclass(frozen=True)
class ItemForm:
    """The canvas for puzzles of at most ``side`` houses and attributes (S)."""

    side: int

    @property
    def by_house(self) -> Form:
        """The same puzzles seen from the houses."""
        return Form(self.side)

    @property
    def items(self) -> int:
        """Positions of items and houses, before the clues."""
        return self.side * (self.side + 1)

    @property
    def slots(self) -> int:
        """Most clues."""
        return self.by_house.slots

    @property
    def length(self) -> int:
        return self.items + 3 * self.slots

    @property
    def vocab_size(self) -> int:
        return self.by_house.vocab_size

    def write(self, zebras: Zebras, rank_BI: Tokens) -> tuple[Tokens, Tokens]:
        """See :meth:`Form.write`."""
        return self._from_cells(*self.by_house.write(zebras, rank_BI))

    def obeys(self, x_BL: Tokens) -> Tokens:
        """See :meth:`Form.obeys`."""
        return self.by_house.obeys(self._to_cells(x_BL, np.zeros_like(x_BL))[0])  # type: ignore[return-value]

    def augment(self, x_BL: Tokens, rank_BL: Tokens, rng: np.random.Generator) -> tuple[Tokens, Tokens]:
        """See :meth:`Form.augment`."""
        return self._from_cells(*self.by_house.augment(*self._to_cells(x_BL, rank_BL), rng))

    def show(self, x_L: Tokens) -> str:
        """The street as a table, hidden cells as dots, then the clues."""
        return self.by_house.show(self._to_cells(x_L[None], np.zeros_like(x_L[None]))[0][0])

    def relations(self, x_BL: Tensor) -> Tensor:
        """[B, 9, items, items]; only clues are read, so that the hidden answer does not matter."""
        there_BC = x_BL[:, : self.items] != NOTHING
        attribute_C = torch.arange(self.items, device=x_BL.device) // self.side
        clue_BK3 = x_BL[:, self.items :].unflatten(1, (-1, 3)) - torch.tensor(
            [FIRST_KIND, FIRST_ITEM, FIRST_ITEM], device=x_BL.device
        )
        return clue_relations(torch.where(there_BC, attribute_C, -1), clue_BK3)

    # -- the two views ----------------------------------------------------------------------------------------------
    def _to_cells(self, x_BL: Tokens, rank_BL: Tokens) -> tuple[Tokens, Tokens]:
        """The same canvas seen from the houses; an item that says no house of the street leaves its cell hidden."""
        n, side = len(x_BL), self.side
        own = x_BL[:, : side * side]
        place = np.arange(side)
        houses = (x_BL[:, side * side : self.items] != NOTHING).sum(axis=1)[:, None, None]
        attributes = (own[:, ::side] != NOTHING).sum(axis=1)[:, None, None]
        exists = (place[:, None] < attributes) & (place < houses)
        cell = np.where(exists, 0, NOTHING).reshape(n, -1)
        rank = np.zeros_like(cell)
        home = own - (FIRST_ITEM + side * side)
        row, item = np.nonzero((home >= 0) & (home < side))
        at = item // side * side + home[row, item]
        cell[row, at] = FIRST_ITEM + item
        rank[row, at] = rank_BL[row, item]
        clues = x_BL[:, self.items :]
        return np.concatenate([cell, clues], axis=1), np.concatenate([rank, np.zeros_like(clues)], axis=1)

    def _from_cells(self, x_BL: Tokens, rank_BL: Tokens) -> tuple[Tokens, Tokens]:
        n, side = len(x_BL), self.side
        cell = x_BL[:, : side * side]
        own, rank = np.full((n, self.items), NOTHING, dtype=np.int64), np.zeros((n, self.items), dtype=np.int64)
        row, at = np.nonzero(cell >= FIRST_ITEM)
        item = cell[row, at] - FIRST_ITEM
        house = FIRST_ITEM + side * side + np.arange(side)
        own[row, item] = house[at % side]
        rank[row, item] = rank_BL[row, at]
        own[:, side * side :] = np.where(cell[:, :side] != NOTHING, house, NOTHING)
        clues = x_BL[:, side * side :]
        return np.concatenate([own, clues], axis=1), np.concatenate([rank, np.zeros_like(clues)], axis=1)
