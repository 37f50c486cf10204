"""Runs of words written anew by the denoiser, as long as before, shorter or longer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.search.context import SearchContext
from unmask.search.hypothesis import Hypothesis
from unmask.search.proposal import Proposal


@dataclass(frozen=True)
class Span(Proposal):
    """Runs of words written anew by the denoiser, a token shorter, as long, or a token longer.

    Attributes:
        each: rows of a hypothesis.
    """

    each: int = 4

    def rows(self, search: SearchContext, best: Sequence[Hypothesis]) -> list[list[int]]:
        found, mask = [], search.writer.mask
        for hypothesis in best:
            ids = search.tokens(hypothesis.units)
            flat = [i for piece in ids for i in piece]
            for _ in range(self.each):
                length = min(search.rng.choice((2, 3, 4, 6)), len(flat))
                at = search.rng.randrange(len(flat) - length + 1)
                count = max(1, length + search.rng.choice((-1, 0, 0, 1)))
                found.append([*flat[:at], *[mask] * count, *flat[at + length :]])
        return found
