from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.decoding.order import Candidates, Order


@dataclass(frozen=True)
class LeftToRightOrder(Order):
    """As a causal model writes; looks at no logits."""

    reference = "arXiv 2502.06768"

    def score(self, candidates: Candidates) -> Tensor:
        return -candidates.place_N.double()
