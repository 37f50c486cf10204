"""A word more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unmask.search.hypothesis import Edit
from unmask.search.proposal import Proposal
from unmask.search.site import Site


@dataclass(frozen=True)
class Insert(Proposal):
    """A word more, ranked like a replacement.

    Attributes:
        candidates: edits that are kept.
    """

    prior: ClassVar[float] = 0.25
    asks_denoiser: ClassVar[bool] = True
    candidates: int = 128

    def edits(self, site: Site) -> list[Edit]:
        words = site.search.lexicon.words
        return [Edit(i, i, (words[w],), rank) for rank, i, w in site.ranked(True, self.candidates)]
