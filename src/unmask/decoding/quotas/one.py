from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.decoding.quota import Quota, Ranking


@dataclass(frozen=True)
class OneQuota(Quota):
    """One position a step: no factorisation error, as many forwards as positions."""

    reference = "arXiv 2502.06768"
    uses_steps = False

    def count(self, ranking: Ranking) -> Tensor:
        return torch.ones_like(ranking.count_R)
