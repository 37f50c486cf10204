from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.core.random import Stream
from unmask.decoding.order import Candidates, Order


@dataclass(frozen=True)
class RandomOrder(Order):
    """Every order of positions equally likely; looks at no logits."""

    reference = "arXiv 2202.04200"

    def score(self, candidates: Candidates) -> Tensor:
        return candidates.uniform_N(Stream.ORDER)
