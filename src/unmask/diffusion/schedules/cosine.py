from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diffusion.schedule import Schedule


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """Masked fraction cos(pi u / 2) with u = 1 - t: MaskGIT's schedule, most time spent nearly all masked."""

    reference = "arXiv 2202.04200"

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - torch.cos(math.pi / 2 * (1 - t))

    def dalpha(self, t: Tensor) -> Tensor:
        return -math.pi / 2 * torch.sin(math.pi / 2 * (1 - t))

    def inverse(self, alpha: Tensor) -> Tensor:
        return 1 - torch.acos(1 - alpha) * 2 / math.pi
