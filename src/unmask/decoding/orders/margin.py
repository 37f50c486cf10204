from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.decoding.order import Candidates, NoisyOrder


@dataclass(frozen=True)
class MarginOrder(NoisyOrder):
    """Probability of the best value minus that of the second: where the model does not hesitate between two.

    The score is the margin less 1, so that margins next to 1 stay apart.
    """

    reference = "arXiv 2502.06768"
    needs = ("best", "rest", "second")

    def score(self, candidates: Candidates) -> Tensor:
        return -candidates.stats.shortfall_N
