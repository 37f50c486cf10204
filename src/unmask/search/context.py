"""What sources of new texts may ask of the search that they work for."""

from __future__ import annotations

import random
from typing import Protocol

from torch import Tensor

from unmask.search.hypothesis import Hypothesis
from unmask.search.lexicon import Lexicon
from unmask.search.plan import SearchPlan
from unmask.search.units import Units
from unmask.search.writer import MaskFiller


class SearchContext(Protocol):
    """One search.

    Attributes:
        z_Z: the vector that is searched for, or None.
        word_W: log odds that it holds each word of the lexicon, or None.
        added_W: how far each word points its way; square_W: squared length of what each word adds.
        lexicon, plan, writer: of the search.
        rng: its noise, which no other search shares.
    """

    z_Z: Tensor | None
    word_W: Tensor | None
    added_W: Tensor
    square_W: Tensor
    lexicon: Lexicon
    plan: SearchPlan
    writer: MaskFiller
    rng: random.Random

    def best(self, count: int, fluency: float | None = None) -> list[Hypothesis]:
        """The hypotheses that rank first."""
        ...

    def tokens(self, units: Units) -> list[list[int]]:
        """Ids of each unit as the text is written."""
        ...
