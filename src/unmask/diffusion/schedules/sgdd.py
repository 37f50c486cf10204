from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.diffusion.schedule import Schedule


@dataclass(frozen=True)
class SgddSchedule(Schedule):
    """SGDD's grid of 1000 steps: alpha = cos^2(pi/2 (t + s)/(1 + s)), scaled to 1 at t = 0 (Nichol & Dhariwal)."""

    steps: int = 1000
    offset: float = 0.008
    reference = "arXiv 2102.09672"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"sgdd steps={self.steps} must be at least 1")
        if self.offset < 0:
            raise UsageError(f"sgdd offset={self.offset} must not be negative")

    @classmethod
    def examples(cls) -> list[SgddSchedule]:
        return [cls(), cls(steps=50), cls(offset=0.1)]

    def _angle(self, t: Tensor) -> Tensor:
        return math.pi / 2 * (t + self.offset) / (1 + self.offset)

    def _top(self) -> float:
        return math.cos(math.pi / 2 * self.offset / (1 + self.offset)) ** 2

    def alpha(self, t: Tensor) -> Tensor:
        return torch.cos(self._angle(t)) ** 2 / self._top()

    def dalpha(self, t: Tensor) -> Tensor:
        return -torch.sin(2 * self._angle(t)) * math.pi / 2 / (1 + self.offset) / self._top()

    def inverse(self, alpha: Tensor) -> Tensor:
        angle = torch.acos(torch.sqrt((alpha * self._top()).clamp(0, 1)))
        return angle * 2 / math.pi * (1 + self.offset) - self.offset
