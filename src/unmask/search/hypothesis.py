"""A text that was tried, and what may be changed in it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from unmask.search.units import Units


@dataclass(frozen=True)
class Edit:
    """Units ``start`` to ``end`` become others; an insertion where the two are equal.

    Attributes:
        rank: how promising it looks before it is tried; comparable within one source.
    """

    start: int
    end: int
    units: Units
    rank: float = 0.0

    def on(self, units: Units) -> Units:
        """The text with this edit."""
        return (*units[: self.start], *self.units, *units[self.end :])

    def clashes(self, other: Edit) -> bool:
        """Whether the two touch the same place."""
        if self.start == self.end or other.start == other.end:
            return self.start <= other.end and other.start <= self.end
        return self.start < other.end and other.start < self.end


def joined(edits: tuple[Edit, ...], units: Units) -> Units:
    """The text with several edits that do not clash."""
    for edit in sorted(edits, key=lambda e: e.start, reverse=True):
        units = edit.on(units)
    return units


@dataclass(eq=False)
class Hypothesis:
    """A text that the verifier has seen.

    Attributes:
        units: its words and marks. text: how it is written.
        ids: of its units in the lexicon.
        score: the verifier's. fluency: mean ln p a word.
        vector_Z: the verifier's, or None.
        source: what proposed it; parent: the hypothesis that it is an edit of, or None.
        tried: edits of it that were verified, with what became of them.
        waiting: edits of it that were not, the best first, by source.
        calls: of the verifier when it was seen.
        visits: how often it was edited.
    """

    units: Units
    text: str
    ids: list[int]
    score: float
    fluency: float
    vector_Z: Tensor | None
    source: str
    parent: Hypothesis | None = None
    accepted: bool = False
    tried: list[tuple[Edit, Hypothesis]] = field(default_factory=list)
    waiting: dict[str, list[Edit]] | None = None
    calls: int = 0
    visits: int = 0

    def value(self, fluency: float) -> float:
        """What hypotheses are ranked by."""
        return self.score + fluency * self.fluency

    def likeness(self, other: Hypothesis) -> float:
        """Share of the words of both that are in both."""
        mine, theirs = set(self.units), set(other.units)
        return len(mine & theirs) / max(1, len(mine | theirs))


def framed(ids: list[int], start: int, end: int) -> np.ndarray:
    """Ids with two starts before and two ends behind, for trigrams about every place."""
    return np.array([start, start, *ids, end, end], np.int64)
