from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.diffusion.schedule import Schedule


@dataclass(frozen=True)
class LogLinearSchedule(Schedule):
    """Total noise -log(alpha) grows as -log(1 - (1 - eps) t), rescaled so that alpha(1) is 0 and not eps.

    The public form keeps alpha(1) = eps, a text that is never fully masked; ``curvature`` > 0 bends the line towards
    masking early, 0 is the straight line.
    """

    curvature: float = 1.0
    reference = "arXiv 2406.07524"

    def __post_init__(self) -> None:
        if self.curvature < 0:
            raise UsageError(f"log_linear curvature={self.curvature} must not be negative; 0 is a straight line")

    @classmethod
    def examples(cls) -> list[LogLinearSchedule]:
        return [cls(), cls(curvature=0.0), cls(curvature=4.0)]

    def alpha(self, t: Tensor) -> Tensor:
        if self.curvature == 0:
            return 1 - t
        return 1 - torch.log1p(self.curvature * t) / math.log1p(self.curvature)

    def dalpha(self, t: Tensor) -> Tensor:
        if self.curvature == 0:
            return -torch.ones_like(t)
        return -self.curvature / (1 + self.curvature * t) / math.log1p(self.curvature)

    def inverse(self, alpha: Tensor) -> Tensor:
        if self.curvature == 0:
            return 1 - alpha
        return torch.expm1((1 - alpha) * math.log1p(self.curvature)) / self.curvature
