from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.core.errors import UsageError
from unmask.decoding.quota import Quota, Ranking, prefix


@dataclass(frozen=True)
class ThresholdQuota(Quota):
    """As long as the best value's probability reaches a threshold; never fewer than one position (Fast-dLLM).

    With order ``top_prob`` these are all positions above the threshold; with another order, the run of them at its
    head.

    Attributes:
        least: the probability to reach, inside (0, 1].
    """

    least: float = 0.9
    reference = "arXiv 2505.22618"
    needs = ("best", "rest")
    uses_steps = False

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise UsageError(f"threshold least={self.least} must lie in (0, 1]: it is a probability")

    @classmethod
    def examples(cls) -> list[ThresholdQuota]:
        return [cls(), cls(least=0.4)]

    def count(self, ranking: Ranking) -> Tensor:
        return prefix(ranking.sorted(ranking.candidates.stats.top_prob_N, 0.0) >= self.least)
