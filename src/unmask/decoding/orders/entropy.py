from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.decoding.order import Candidates, NoisyOrder


@dataclass(frozen=True)
class EntropyOrder(NoisyOrder):
    """Negative entropy of the distribution, nats: the least uncertain position first."""

    reference = "arXiv 2508.15487"
    needs = ("best", "rest", "entropy")

    def score(self, candidates: Candidates) -> Tensor:
        return -candidates.stats.entropy_N
