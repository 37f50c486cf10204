from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.decoding.quota import Quota, Ranking


@dataclass(frozen=True)
class LinearQuota(Quota):
    """The same number each step; what does not divide goes to the first steps (LLaDA's share)."""

    reference = "arXiv 2502.09992"

    def count(self, ranking: Ranking) -> Tensor:
        canvas = ranking.candidates.canvas
        size_R, steps_R, made_R = canvas.size_R, canvas.steps_R, canvas.step_R + 1
        target_R = size_R // steps_R * made_R + torch.minimum(made_R, size_R % steps_R)
        return target_R - (size_R - ranking.count_R)
