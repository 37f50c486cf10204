"""Sources of new texts, one file each in :mod:`unmask.search.proposals`: edits, or rows to be filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from unmask.core.registry import Leaf, Registry
from unmask.search.context import SearchContext
from unmask.search.hypothesis import Edit, Hypothesis
from unmask.search.site import Site


class Proposal(Leaf):
    """One source of new texts.

    Attributes:
        prior: how often an edit of it is better than its parent, to begin with; what it finds then weighs in.
        asks_denoiser: whether its edits are ranked by the denoiser's opinion of every place.
    """

    reference: ClassVar[str] = "this project"
    prior: ClassVar[float] = 0.1
    asks_denoiser: ClassVar[bool] = False

    def edits(self, site: Site) -> list[Edit]:
        """Edits of one hypothesis, in any order; each with its rank."""
        return []

    def rows(self, search: SearchContext, best: Sequence[Hypothesis]) -> list[list[int]]:
        """Rows of ids with masks for the denoiser to fill, from the best hypotheses."""
        return []


proposals: Registry[Proposal] = Registry("proposal", "unmask.search.proposals", Proposal)
