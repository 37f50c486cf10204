"""Runs of words written anew by the denoiser, as long as before, shorter or longer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unmask.search.hypothesis import Hypothesis
from unmask.search.proposal import Proposal

if TYPE_CHECKING:
    from unmask.search.climb import Climb


@dataclass(frozen=True)
class Span(Proposal):
    """Runs of words written anew by the denoiser, a token shorter, as long, or a token longer.

    Attributes:
        each: rows of a hypothesis.
    """

    each: int = 4

    def rows(self, climb: Climb, best: Sequence[Hypothesis]) -> list[list[int]]:
        found, mask = [], climb.writer.mask
        for hypothesis in best:
            ids = climb.tokens(hypothesis.units)
            flat = [i for piece in ids for i in piece]
            for _ in range(self.each):
                length = min(climb.rng.choice((2, 3, 4, 6)), len(flat))
                at = climb.rng.randrange(len(flat) - length + 1)
                count = max(1, length + climb.rng.choice((-1, 0, 0, 1)))
                found.append([*flat[:at], *[mask] * count, *flat[at + length :]])
        return found
