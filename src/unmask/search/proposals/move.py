"""Words and phrases to another place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unmask.search.hypothesis import Edit
from unmask.search.proposal import Proposal
from unmask.search.site import Site


@dataclass(frozen=True)
class Move(Proposal):
    """A word or a run of words and marks to another place; the likeliest order first.

    Attributes:
        longest: units of a run.
        candidates: edits that are kept.
    """

    prior: ClassVar[float] = 0.15
    longest: int = 8
    candidates: int = 160

    def edits(self, site: Site) -> list[Edit]:
        units, n = site.hypothesis.units, len(site.ids)
        seen, found = {units}, []
        for length in range(1, min(self.longest, n - 1) + 1):
            for start in range(n - length + 1):
                run = units[start : start + length]
                for to in range(n - length + 1):
                    if to == start:
                        continue
                    low, high = min(start, to), max(start, to) + length
                    rest = units[low:start] + units[start + length : high]
                    new = rest + run if to > start else run + rest
                    whole = (*units[:low], *new, *units[high:])
                    if whole not in seen:
                        seen.add(whole)
                        found.append((low, high, new, whole))
        lexicon = site.search.lexicon
        scores = lexicon.trigram.scores([lexicon.ids(whole) for *_, whole in found])
        edits = [Edit(a, b, new, s) for (a, b, new, _), s in zip(found, scores, strict=True)]
        return sorted(edits, key=lambda e: -e.rank)[: self.candidates]
