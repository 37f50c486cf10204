"""Zebra puzzles that ask each item for its house."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unmask.data.puzzles import relations
from unmask.data.puzzles.kinds.zebra import Zebra
from unmask.data.puzzles.puzzle import Puzzle
from unmask.data.puzzles.zebra.canvas import LETTERS
from unmask.data.puzzles.zebra.items import ItemForm


@dataclass(frozen=True)
class ZebraItems(Zebra):
    """Zebra puzzles with the items as positions: each asks for its house, and clues are relations between items.

    See :mod:`unmask.data.puzzles.zebra.items`. Relations are the clues themselves, one a kind and direction, between
    the items that they name; a structure-aware network therefore needs no clue tokens and runs on items and houses
    alone.
    """

    relation_names: ClassVar[tuple[str, ...]] = relations.ZEBRA_ITEMS

    @property
    def form(self) -> ItemForm:  # type: ignore[override]
        return ItemForm(self.largest)

    @property
    def related(self) -> int:
        return self.form.items

    def place_name(self, position: int) -> str:
        if position >= self.form.side**2:
            return Puzzle.place_name(self, position)
        attribute, value = divmod(position, self.form.side)
        return f"house of {LETTERS[attribute]}{value + 1}"
