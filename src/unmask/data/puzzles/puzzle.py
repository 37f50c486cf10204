"""What every puzzle offers to training, to an experiment and to ``unmask puzzle``.

A puzzle is a canvas of L tokens. Some positions are given (the question), the others are to be written. Token 0 is the
mask in every puzzle, so that a question is the answer with zeros at the hidden positions.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from unmask.core.registry import Leaf, Registry

MASK = 0


@dataclass(frozen=True)
class PuzzleBatch:
    """A batch of puzzles: answers [B, L], givens, and ranks where they are known.

    Attributes:
        answer_BL: tokens of the complete canvas, givens included (int64); 0 where the answer is not known.
        given_BL: True where the question shows the token.
        rank_BL: order in which a solver fills the positions: 0 given, then 1, 2, ...; ``UNREACHED`` (255) where it does
            not get to; None where no order is known.
    """

    answer_BL: Tensor
    given_BL: Tensor
    rank_BL: Tensor | None = None

    @property
    def question_BL(self) -> Tensor:
        """The canvas with the mask id wherever nothing is given."""
        return torch.where(self.given_BL, self.answer_BL, MASK)

    @property
    def fill_order_BL(self) -> Tensor:
        """Positions sorted by rank, givens first, equal ranks from left to right: the order of the ordered ARM.

        Without ranks: givens from left to right, then the rest from left to right.
        """
        rank_BL = (~self.given_BL).long() if self.rank_BL is None else self.rank_BL
        return rank_BL.argsort(dim=1, stable=True)

    def __len__(self) -> int:
        return len(self.answer_BL)

    def __getitem__(self, rows: Tensor | slice) -> PuzzleBatch:
        rank = None if self.rank_BL is None else self.rank_BL[rows]
        return PuzzleBatch(self.answer_BL[rows], self.given_BL[rows], rank)

    def to(self, device: torch.device | str) -> PuzzleBatch:
        rank = None if self.rank_BL is None else self.rank_BL.to(device)
        return PuzzleBatch(self.answer_BL.to(device), self.given_BL.to(device), rank)


class Puzzle(Leaf):
    """Base of the kinds of puzzles. Subclasses are frozen dataclasses in ``unmask.data.puzzles.kinds``."""

    mask_id: ClassVar[int] = MASK
    #: whether a question has one answer; else any canvas that obeys the rules is as good
    one_answer: ClassVar[bool] = True
    #: names of the relations, in the order of the stack
    relation_names: ClassVar[tuple[str, ...]] = ()

    @property
    def length(self) -> int:
        """L, the length of the canvas."""
        raise NotImplementedError

    @property
    def related(self) -> int:
        """How many positions relations are about, from the first one; the others are not read where relations are."""
        return self.length

    @property
    def vocab_size(self) -> int:
        """V, the mask included."""
        raise NotImplementedError

    def sample(self, n: int, rng: np.random.Generator) -> PuzzleBatch:
        """``n`` new puzzles."""
        raise NotImplementedError

    def relations(self, x_BL: Tensor) -> Tensor:
        """[R, L, L] where relations are the same for every canvas, else [B, R, L, L] read from the given tokens.

        L is :attr:`related` here.
        """
        raise NotImplementedError

    def correct(self, x_BL: Tensor, batch: PuzzleBatch) -> Tensor:
        """[B] True where ``x_BL`` keeps the givens and obeys every rule, whether or not it is the stored answer."""
        kept_B = ((x_BL == batch.answer_BL) | ~batch.given_BL).all(dim=1)
        return kept_B & self.obeys(x_BL)

    def obeys(self, x_BL: Tensor) -> Tensor:
        """[B] True where a canvas is complete and obeys the rules by itself."""
        raise NotImplementedError

    def augment(self, batch: PuzzleBatch, rng: np.random.Generator) -> PuzzleBatch:
        """A random symmetric copy of each puzzle; the batch itself where the puzzle has no symmetries."""
        return batch

    def read(self, text: str) -> PuzzleBatch:
        """The one puzzle that a text describes, with its answer where the rules settle it.

        Raises:
            UsageError: the text is malformed, contradicts itself, or does not settle the answer where it should.
        """
        raise NotImplementedError

    def show(self, x_L: Tensor) -> str:
        """A canvas as text for people; hidden positions are shown as dots."""
        raise NotImplementedError

    def place_name(self, position: int) -> str:
        """What people call a position: ``r1c3``, ``A in H2``, ``house of B3``, ``x5``."""
        return f"x{position + 1}"

    def value_name(self, token: int) -> str:
        """What people call a value: a digit, ``B2``, ``H3``, a bit."""
        return str(token - 1)

    @property
    def box(self) -> tuple[int, int] | None:
        """Height and width of the boxes of a board that is drawn as a square; None where it is shown as text."""
        return None

    @property
    def held_out(self) -> Puzzle:
        """The same kind of puzzle on the side that training leaves out; itself where it has no sides."""
        if "side" not in {f.name for f in dataclasses.fields(self)}:  # type: ignore[arg-type]
            return self
        return dataclasses.replace(self, side="test")  # type: ignore[type-var]


PUZZLES: Registry[Puzzle] = Registry("puzzle", "unmask.data.puzzles.kinds", Puzzle)
