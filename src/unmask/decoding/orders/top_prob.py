from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.decoding.order import Candidates, NoisyOrder


@dataclass(frozen=True)
class TopProbOrder(NoisyOrder):
    """Log-probability of the most probable value, nats: where the model is surest."""

    reference = "arXiv 2502.06768"
    needs = ("best", "rest")

    def score(self, candidates: Candidates) -> Tensor:
        return candidates.stats.log_best_N
