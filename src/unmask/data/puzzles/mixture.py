"""Batches from several folders of puzzles: more room for the ones that are rare and hard."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.core.errors import UsageError
from unmask.data.puzzles.puzzle import Puzzle, PuzzleBatch
from unmask.data.puzzles.shards import Shards


@dataclass(frozen=True)
class Mixture:
    """A fixed number of every batch's rows from each of two folders of one kind of puzzle.

    Attributes:
        main: gives :attr:`puzzle` and the rows that ``extra`` does not fill.
        extra: the folder that gets more room.
        share: of each batch that ``extra`` fills, rounded to whole rows.

    Raises:
        UsageError: a share outside 0 to 1, or folders whose canvases differ.
    """

    main: Shards
    extra: Shards
    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise UsageError(f"share={self.share} must lie between 0 and 1; a share of 0 is the main folder alone")
        one, other = self.main.puzzle, self.extra.puzzle
        if (one.length, one.vocab_size) != (other.length, other.vocab_size):
            raise UsageError(f"{one} and {other} have canvases of their own and cannot stand in one batch")

    @property
    def puzzle(self) -> Puzzle:
        """The kind, as the main folder has it."""
        return self.main.puzzle

    def describe(self) -> str:
        """What is in it, in words."""
        return f"{self.main.describe()}; {self.share:.0%} of each batch out of {self.extra.describe()}"

    def __len__(self) -> int:
        return len(self.main) + len(self.extra)

    def batch(self, size: int, seed: int, step: int) -> PuzzleBatch:
        """Batch number ``step``, a function of its arguments alone; ranks only where both folders hold them.

        Raises:
            UsageError: so few rows that one of the folders would have none.
        """
        rows = round(self.share * size)
        if not 0 < rows < size:
            raise UsageError(f"batches of {size} have no room for {self.share:.0%} of their rows: take more")
        parts = [self.main.batch(size - rows, seed, step), self.extra.batch(rows, seed, step)]
        ranks = [part.rank_BL for part in parts if part.rank_BL is not None]
        return PuzzleBatch(
            torch.cat([part.answer_BL for part in parts]),
            torch.cat([part.given_BL for part in parts]),
            torch.cat(ranks) if len(ranks) == len(parts) else None,
        )
