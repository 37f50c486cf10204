from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.decoding.quota import Quota, Ranking, prefix


@dataclass(frozen=True)
class FactorQuota(Quota):
    """The more are written together, the surer each must be: n positions while (n + 1)(1 - p_n) < factor (Fast-dLLM).

    p_n is the least of the first n best-value probabilities. The bound is what keeps parallel argmax equal to the
    joint argmax.

    Attributes:
        factor: above 0; larger writes more at once.
    """

    factor: float = 1.0
    reference = "arXiv 2505.22618"
    needs = ("best", "rest")
    uses_steps = False

    def __post_init__(self) -> None:
        if self.factor <= 0:
            raise UsageError(f"factor={self.factor} must be above 0")

    @classmethod
    def examples(cls) -> list[FactorQuota]:
        return [cls(), cls(factor=3.0)]

    def count(self, ranking: Ranking) -> Tensor:
        doubt_RL = 1 - ranking.sorted(ranking.candidates.stats.top_prob_N, 0.0).cummin(1).values
        size_L = torch.arange(1, doubt_RL.shape[1] + 1, device=doubt_RL.device)
        inside_RL = size_L <= ranking.count_R[:, None]
        return prefix(inside_RL & ((size_L + 1) * doubt_RL < self.factor))
