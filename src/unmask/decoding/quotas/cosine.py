from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.decoding.quota import Quota, Ranking


@dataclass(frozen=True)
class CosineQuota(Quota):
    """Hidden share cos(pi/2 * step/steps): few at first, many at the end (MaskGIT)."""

    reference = "arXiv 2202.04200"

    def count(self, ranking: Ranking) -> Tensor:
        canvas = ranking.candidates.canvas
        part_R = ((canvas.step_R + 1).double() / canvas.steps_R).clamp(max=1)
        # 1e-9: cos(pi/2) is 6e-17, not 0, and 0.5 * size must not fall below its whole number
        left_R = torch.floor(torch.cos(part_R * math.pi / 2) * canvas.size_R + 1e-9).long()
        return ranking.count_R - left_R
