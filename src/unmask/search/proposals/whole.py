"""Whole texts written anew with the words of the best hypotheses in favour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.search.context import SearchContext
from unmask.search.hypothesis import Hypothesis
from unmask.search.proposal import Proposal

#: shares of a text that are masked
_SHARES = (0.25, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Whole(Proposal):
    """Texts of which much or most is written anew, with the words of the best hypotheses in favour.

    Attributes:
        each: rows of a hypothesis.
    """

    each: int = 4

    def rows(self, search: SearchContext, best: Sequence[Hypothesis]) -> list[list[int]]:
        found, mask = [], search.writer.mask
        for hypothesis in best:
            flat = [i for piece in search.tokens(hypothesis.units) for i in piece]
            for _ in range(self.each):
                share, row = search.rng.choice(_SHARES), []
                for i in flat:
                    u = search.rng.random()
                    # now and then a token less, or room for one more
                    row += [] if u < 0.05 else [mask] if u < share else [i] if u < 0.95 else [i, mask]
                if row:
                    found.append(row)
        return found
