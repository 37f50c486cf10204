"""Zebra puzzles as tokens.

The canvas of a form for at most S houses and S attributes is S * S answer cells (attribute by attribute, houses from
left to right), then the clues, three tokens each: kind, item, item. Tokens:

    0 hidden    1 nothing (no such house, attribute or clue)    2.. kinds of clues    8.. items, then the houses

Item (attribute a, value v) is ``8 + a * S + v``; house h is ``8 + S * S + h``. The answer cell (a, h) holds the item
that lives there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.data.puzzles.relations import zebra_relations
from unmask.data.puzzles.zebra.generate import Zebras
from unmask.data.puzzles.zebra.rules import KINDS, holds
from unmask.data.puzzles.zebra.symmetry import IS_ORDERED
from unmask.data.puzzles.zebra.text import clue_text

NOTHING = 1
#: names of the attributes
LETTERS = "ABCDEF"
FIRST_KIND, FIRST_ITEM = 1, 1 + len(KINDS)
#: room for clues; a 6x6 puzzle without a spare clue has 29 on average
_SLOTS = {3: 10, 4: 20, 5: 30, 6: 42}

Tokens = NDArray[np.int64]


@dataclass(frozen=True)
class Form:
    """The canvas for puzzles of at most ``side`` houses and attributes (S)."""

    side: int

    @property
    def cells(self) -> int:
        return self.side * self.side

    @property
    def slots(self) -> int:
        """Most clues."""
        return _SLOTS[self.side]

    @property
    def length(self) -> int:
        return self.cells + 3 * self.slots

    @property
    def vocab_size(self) -> int:
        return FIRST_ITEM + self.cells + self.side

    def write(self, zebras: Zebras, rank_BI: Tokens) -> tuple[Tokens, Tokens]:
        """Tokens and ranks [B, L] of puzzles and of the order of their items (0 where given)."""
        n, side, houses, attributes = len(zebras.home_BI), self.side, zebras.houses, zebras.attributes
        token = np.full((n, self.length), NOTHING, dtype=np.int64)
        rank = np.zeros((n, self.length), dtype=np.int64)
        attribute, value = np.divmod(np.arange(houses * attributes), houses)
        cell, row = attribute * side + zebras.home_BI, np.arange(n)[:, None]
        token[row, cell] = FIRST_ITEM + attribute * side + value
        rank[row, cell] = rank_BI
        attribute, value = np.divmod(np.arange(houses * (attributes + 1)), houses)
        name = FIRST_ITEM + np.where(attribute == attributes, side, attribute) * side + value
        kind = zebras.clue_BK3[:, :, :1]
        clue = np.concatenate([FIRST_KIND + kind, name[zebras.clue_BK3[:, :, 1:]]], axis=2)
        clue = np.where(kind > 0, clue, NOTHING)[:, : self.slots]
        token[:, self.cells : self.cells + 3 * clue.shape[1]] = clue.reshape(n, -1)
        return token, rank

    def _parts(self, x_BL: Tokens) -> tuple[Tokens, Tokens, Tokens]:
        """Cells [B, S, S] and clues [B, K, 3] as item numbers (negative: none), and the number of houses [B]."""
        cell = x_BL[:, : self.cells].reshape(-1, self.side, self.side)
        clue = x_BL[:, self.cells :].reshape(len(x_BL), -1, 3) - np.array([FIRST_KIND, FIRST_ITEM, FIRST_ITEM])
        return cell - FIRST_ITEM, clue, (cell[:, 0] != NOTHING).sum(axis=1)

    def obeys(self, x_BL: Tokens) -> NDArray[np.bool_]:
        """True where every house has one value of each attribute and every clue holds."""
        n, side = len(x_BL), self.side
        cell, clue, houses = self._parts(x_BL)
        attributes = (x_BL[:, : self.cells : side] != NOTHING).sum(axis=1)
        place = np.arange(side)
        exists = (place[:, None] < attributes[:, None, None]) & (place < houses[:, None, None])
        nothing = x_BL[:, : self.cells].reshape(n, side, side) == NOTHING
        fits = (cell // side == place[:, None]) & (cell % side < houses[:, None, None]) & (cell >= 0)
        good = np.where(exists, fits, nothing).all(axis=(1, 2))
        # Items without a home stay at -99, where no clue about them can hold.
        home = np.full((n, self.cells + side + 1), -99)
        row, a, h = np.nonzero(exists & fits)
        home[row, cell[row, a, h]] = h
        home[:, self.cells : -1] = place
        placed = (home[:, : self.cells] >= 0).sum(axis=1) == houses * attributes
        said = clue[:, :, 0] > 0
        item = np.where(said[:, :, None] & (clue[:, :, 1:] >= 0), clue[:, :, 1:], -1)
        at = np.take_along_axis(home, item.reshape(n, -1) % home.shape[1], axis=1).reshape(item.shape)
        legal = (clue[:, :, 0] < len(KINDS)) & (at >= 0).all(axis=2)
        true = legal & holds(np.where(legal & said, clue[:, :, 0], 0), at[:, :, 0], at[:, :, 1])
        empty = (x_BL[:, self.cells :].reshape(clue.shape) == NOTHING).all(axis=2)
        return good & placed & np.where(said, true, empty).all(axis=1)

    def augment(self, x_BL: Tokens, rank_BL: Tokens, rng: np.random.Generator) -> tuple[Tokens, Tokens]:
        """Values renamed, attributes permuted, clues reordered and half of the streets mirrored, at random."""
        n, side = len(x_BL), self.side
        cell, clue, houses = self._parts(x_BL)
        attributes = (x_BL[:, : self.cells : side] != NOTHING).sum(axis=1)
        place = np.arange(side)

        def shuffled(shape: tuple[int, ...], used: NDArray) -> Tokens:
            """Orders of the first ``used`` places; the others stay where they are."""
            return np.where(place < used, rng.random(shape), 1.0 + place).argsort(axis=-1)

        old_attribute = shuffled((n, side), attributes[:, None])
        new_attribute = old_attribute.argsort(axis=1)
        new_value = shuffled((n, side, side), houses[:, None, None])
        mirrored = rng.random(n) < 0.5
        street = np.where(mirrored[:, None] & (place < houses[:, None]), houses[:, None] - 1 - place, place)
        # rename[:, old item] = new item; the houses follow the street
        rename = np.concatenate(
            [(new_attribute[:, :, None] * side + new_value).reshape(n, -1), self.cells + street], axis=1
        )
        token = np.full_like(x_BL, NOTHING)
        source = (old_attribute[:, :, None] * side + street[:, None, :]).reshape(n, -1)
        moved = np.take_along_axis(cell.reshape(n, -1), source, axis=1)
        renamed = np.take_along_axis(rename, np.maximum(moved, 0), axis=1) + FIRST_ITEM
        token[:, : self.cells] = np.where(moved >= 0, renamed, NOTHING)
        rank = np.zeros_like(rank_BL)
        rank[:, : self.cells] = np.take_along_axis(rank_BL[:, : self.cells], source, axis=1)

        said = clue[:, :, 0] > 0
        item = np.take_along_axis(rename, np.maximum(clue[:, :, 1:], 0).reshape(n, -1), axis=1).reshape(n, -1, 2)
        swap = mirrored[:, None] & IS_ORDERED[np.where(said, clue[:, :, 0], 0)]
        item = np.where(swap[:, :, None], item[:, :, ::-1], item)
        clue = np.concatenate([clue[:, :, :1] + FIRST_KIND, item + FIRST_ITEM], axis=2)
        order = np.where(said, rng.random(said.shape), 1.0 + np.arange(self.slots)).argsort(axis=1)
        clue = np.take_along_axis(np.where(said[:, :, None], clue, NOTHING), order[:, :, None], axis=1)
        token[:, self.cells :] = clue.reshape(n, -1)
        return token, rank

    def relations(self, x_BL: Tensor) -> Tensor:
        """[B, 6, L, L]; only clue tokens are read, so that the hidden answer does not matter."""
        n, side, device = len(x_BL), self.side, x_BL.device
        place = torch.arange(self.cells, device=device).expand(n, -1)
        said = x_BL[:, self.cells :]
        item = torch.where(said >= FIRST_ITEM, said - FIRST_ITEM, -1)
        house = torch.where(item >= self.cells, item - self.cells, -1)
        attribute = torch.where((item >= 0) & (item < self.cells), item // side, -1)
        number = torch.arange(3 * self.slots, device=device).expand(n, -1) // 3
        number = torch.where(said != NOTHING, number, -2)
        none = torch.full_like(place, -1)
        return zebra_relations(
            torch.cat([place // side, attribute], dim=1),
            torch.cat([place % side, house], dim=1),
            torch.cat([none, number], dim=1),
            torch.cat([none, item], dim=1),
        )

    def show(self, x_L: Tokens) -> str:
        """The street as a table, hidden cells as dots, then the clues as they are written in text."""
        cell, clue, houses_1 = self._parts(x_L[None])
        houses, side = int(houses_1[0]), self.side
        lines = ["   " + " ".join(f"H{h + 1}" for h in range(houses))]
        for a in range(side):
            if x_L[a * side] == NOTHING:
                continue
            known = [f"{LETTERS[v // side]}{v % side + 1}" if v >= 0 else ". " for v in cell[0, a, :houses].tolist()]
            lines.append(f"{LETTERS[a]}  " + " ".join(known))
        lines += [clue_text(c, side, side) for c in clue[0] if c[0] > 0 and (c[1:] >= 0).all()]
        return "\n".join(lines)
