from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.core.errors import UsageError
from unmask.diffusion.schedule import Schedule


@dataclass(frozen=True)
class PolynomialSchedule(Schedule):
    """alpha = 1 - t**power: power above 1 masks late, below 1 early."""

    power: float = 2.0
    reference = "arXiv 2406.07524"

    def __post_init__(self) -> None:
        if self.power <= 0:
            raise UsageError(f"polynomial power={self.power} must be positive")

    @classmethod
    def examples(cls) -> list[PolynomialSchedule]:
        return [cls(), cls(power=0.5), cls(power=3.0)]

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t**self.power

    def dalpha(self, t: Tensor) -> Tensor:
        return -self.power * t ** (self.power - 1)

    def inverse(self, alpha: Tensor) -> Tensor:
        return (1 - alpha) ** (1 / self.power)
