"""Another word in the place of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unmask.search.hypothesis import Edit
from unmask.search.proposal import Proposal
from unmask.search.site import Site


@dataclass(frozen=True)
class Replace(Proposal):
    """Another word in the place of one: what the target lacks, fits the place and makes likely trigrams.

    Attributes:
        candidates: edits that are kept.
    """

    prior: ClassVar[float] = 0.35
    asks_denoiser: ClassVar[bool] = True
    candidates: int = 192

    def edits(self, site: Site) -> list[Edit]:
        words = site.search.lexicon.words
        return [Edit(i, i + 1, (words[w],), rank) for rank, i, w in site.ranked(False, self.candidates)]
