from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.decoding.quota import Quota, Ranking, prefix


@dataclass(frozen=True)
class EntropyBoundQuota(Quota):
    """As many as keep sum H - max H of their entropies, a bound on their mutual information, within ``nats``.

    Attributes:
        nats: the bound, at least 0; 0 writes one at a time unless the model is certain.
    """

    nats: float = 0.1
    reference = "arXiv 2505.24857"
    needs = ("best", "rest", "entropy")
    uses_steps = False

    def __post_init__(self) -> None:
        if not 0 <= self.nats < float("inf"):
            raise UsageError(f"entropy_bound nats={self.nats} must be a finite number of at least 0")

    @classmethod
    def examples(cls) -> list[EntropyBoundQuota]:
        return [cls(), cls(nats=1.0)]

    def count(self, ranking: Ranking) -> Tensor:
        entropy_RL = ranking.sorted(ranking.candidates.stats.entropy_N, 0.0)
        excess_RL = entropy_RL.cumsum(1) - entropy_RL.cummax(1).values
        inside_RL = torch.arange(entropy_RL.shape[1], device=entropy_RL.device) < ranking.count_R[:, None]
        return prefix(inside_RL & (excess_RL <= self.nats))
