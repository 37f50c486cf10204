"""What another good hypothesis has where this one differs."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import ClassVar

from unmask.search.hypothesis import Edit
from unmask.search.proposal import Proposal
from unmask.search.site import Site


@dataclass(frozen=True)
class Cross(Proposal):
    """What another good hypothesis has where this one differs, one difference at a time.

    Attributes:
        others: hypotheses to look at.
    """

    prior: ClassVar[float] = 0.15
    others: int = 8

    def edits(self, site: Site) -> list[Edit]:
        units, found = site.hypothesis.units, []
        for other in site.search.best(self.others):
            if other is site.hypothesis:
                continue
            blocks = SequenceMatcher(None, units, other.units, autojunk=False).get_opcodes()
            found += [Edit(a, b, other.units[c:d], other.score) for tag, a, b, c, d in blocks if tag != "equal"]
        return found
