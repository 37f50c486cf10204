"""A word, or two that stand together, less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from unmask.search.hypothesis import Edit
from unmask.search.proposal import Proposal
from unmask.search.site import Site


@dataclass(frozen=True)
class Delete(Proposal):
    """A word less, or two neighbours: those first that the target does not hold."""

    prior: ClassVar[float] = 0.25

    def edits(self, site: Site) -> list[Edit]:
        n, weights = len(site.ids), site.search.plan.weights
        if n < 2:
            return []
        gain = site.gain(torch.arange(n), None).expand(n)
        rank = (weights.foreign * site.foreign_n + 100 * weights.gain * gain).tolist()
        found = []
        for length in (1, 2):
            spans = [(i, i + length) for i in range(n - length + 1)] if n > length else []
            units = site.hypothesis.units
            lines = [site.search.lexicon.ids((*units[:a], *units[b:])) for a, b in spans]
            scores = site.search.lexicon.trigram.scores(lines)
            found += [
                Edit(a, b, (), sum(rank[a:b]) + weights.order * (n * (score - site.hypothesis.fluency)))
                for (a, b), score in zip(spans, scores, strict=True)
            ]
        return found
