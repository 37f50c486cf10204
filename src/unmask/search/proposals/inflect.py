"""Another form of a word in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from unmask.search.hypothesis import Edit
from unmask.search.proposal import Proposal
from unmask.search.site import Site


@dataclass(frozen=True)
class Inflect(Proposal):
    """Another form of a word in its place: *please* for *pleases*, *sits* for *sitting*.

    A vector says which word and hardly which form of it, so all words of the lexicon that begin alike are tried, ranked
    as any replacement.

    Attributes:
        stem: letters that two forms have in common at the least, and all but ``ending`` of the shorter one.
        ending: see there.
        candidates: edits that are kept.
    """

    prior: ClassVar[float] = 0.3
    asks_denoiser: ClassVar[bool] = True
    stem: int = 3
    ending: int = 2
    candidates: int = 64

    def edits(self, site: Site) -> list[Edit]:
        lexicon = site.search.lexicon
        place, word = [], []
        for i, unit in enumerate(site.hypothesis.units):
            forms = [w for w in lexicon.beginning(unit, self.stem) if self._alike(unit, lexicon.words[w])]
            place += [i] * len(forms)
            word += forms
        if not word:
            return []
        where, what = np.array(place), np.array(word)
        rank = site.rank(where, what)
        best = np.argsort(-rank, kind="stable")[: self.candidates]
        return [Edit(int(where[i]), int(where[i]) + 1, (lexicon.words[what[i]],), float(rank[i])) for i in best]

    def _alike(self, one: str, other: str) -> bool:
        common = next(
            (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
        )
        return one != other and common >= max(self.stem, min(len(one), len(other)) - self.ending)
