"""Zebra puzzles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.data.puzzles import relations
from unmask.data.puzzles.puzzle import Puzzle, PuzzleBatch
from unmask.data.puzzles.split import TEST_ONE_IN, check_side, is_test
from unmask.data.puzzles.zebra import canvas
from unmask.data.puzzles.zebra.generate import Zebras, fill_order, generate
from unmask.data.puzzles.zebra.symmetry import signature
from unmask.data.puzzles.zebra.text import parse


@dataclass(frozen=True)
class Zebra(Puzzle):
    """Who lives where: houses in a row, attributes with one value a house, and symbolic clues with one solution.

    Every puzzle draws its number of houses and of attributes; smaller ones stand in the corner of the same canvas (see
    :mod:`unmask.data.puzzles.zebra.canvas`). No clue of a puzzle can be spared. Larger ones take much longer to make
    (docs/benchmarks/puzzles.md).

    Attributes:
        smallest, largest: range of houses and of attributes, within 3 to 6.
        side: ``train`` or ``test`` (disjoint up to symmetry, whatever the seeds), or ``any``.
    """

    reference: ClassVar[str] = "arXiv 2502.06768"
    relation_names: ClassVar[tuple[str, ...]] = relations.ZEBRA

    smallest: int = 3
    largest: int = 4
    side: str = "any"

    def __post_init__(self) -> None:
        if not 3 <= self.smallest <= self.largest <= 6:
            raise UsageError(f"zebra sizes go from 3 to 6, not from {self.smallest} to {self.largest}")
        check_side(self.side)

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), cls(smallest=3, largest=3), cls(smallest=5, largest=5)]

    @property
    def form(self) -> canvas.Form:
        return canvas.Form(self.largest)

    @property
    def length(self) -> int:
        return self.form.length

    @property
    def vocab_size(self) -> int:
        return self.form.vocab_size

    def sample(self, n: int, rng: np.random.Generator) -> PuzzleBatch:
        size = rng.integers(self.smallest, self.largest + 1, (n, 2))
        answer = np.empty((n, self.length), dtype=np.int64)
        rank = np.empty_like(answer)
        for houses, attributes in np.unique(size, axis=0):
            rows = np.nonzero((size == (houses, attributes)).all(axis=1))[0]
            answer[rows], rank[rows] = self._some(int(houses), int(attributes), len(rows), rng)
        return self._batch(answer, rank)

    def _some(self, houses: int, attributes: int, n: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
        done: list[tuple[NDArray, NDArray]] = []
        while (missing := n - sum(len(answer) for answer, _ in done)) > 0:
            draw = min(2048, missing * TEST_ONE_IN if self.side == "test" else missing + missing // 8 + 4)
            found = generate(houses, attributes, draw, rng)
            kept = (found.clue_BK3[:, :, 0] > 0).sum(axis=1) <= self.form.slots
            if self.side != "any":
                kept &= is_test(signature(found)) == (self.side == "test")
            # of a size of which few were drawn perhaps none is on this side
            if kept.any():
                done.append(self._canvas(found[kept]))
        answer, rank = (np.concatenate(part)[:n] for part in zip(*done, strict=True))
        return answer, rank

    def _canvas(self, zebras: Zebras) -> tuple[NDArray, NDArray]:
        return self.form.write(zebras, fill_order(zebras)[0])

    def _batch(self, answer: NDArray, rank: NDArray) -> PuzzleBatch:
        return PuzzleBatch(torch.from_numpy(answer), torch.from_numpy(rank == 0), torch.from_numpy(rank))

    def relations(self, x_BL: Tensor) -> Tensor:
        return self.form.relations(x_BL)

    def obeys(self, x_BL: Tensor) -> Tensor:
        return torch.from_numpy(self.form.obeys(x_BL.cpu().numpy())).to(x_BL.device)

    def correct(self, x_BL: Tensor, batch: PuzzleBatch) -> Tensor:
        same_size_B = ((x_BL == canvas.NOTHING) == (batch.answer_BL == canvas.NOTHING)).all(dim=1)
        return same_size_B & super().correct(x_BL, batch)

    def augment(self, batch: PuzzleBatch, rng: np.random.Generator) -> PuzzleBatch:
        rank = (~batch.given_BL).long() if batch.rank_BL is None else batch.rank_BL
        return self._batch(*self.form.augment(batch.answer_BL.numpy(), rank.numpy(), rng))

    def read(self, text: str) -> PuzzleBatch:
        zebras = parse(text, self.largest)
        if zebras.clue_BK3.shape[1] > self.form.slots:
            raise UsageError(f"this puzzle has {zebras.clue_BK3.shape[1]} clues; there is room for {self.form.slots}")
        return self._batch(*self._canvas(zebras))

    def show(self, x_L: Tensor) -> str:
        return self.form.show(x_L.cpu().numpy())

    def place_name(self, position: int) -> str:
        if position >= self.form.cells:
            return super().place_name(position)
        attribute, house = divmod(position, self.form.side)
        return f"{canvas.LETTERS[attribute]} in H{house + 1}"

    def value_name(self, token: int) -> str:
        side, item = self.form.side, token - canvas.FIRST_ITEM
        kind = "H" if item >= side**2 else canvas.LETTERS[max(item, 0) // side]
        return f"{kind}{item % side + 1}" if item >= 0 else "-"
