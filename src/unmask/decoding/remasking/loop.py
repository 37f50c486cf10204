from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.decoding.remask import ScaledRemasker, sigma_max
from unmask.decoding.state import SamplerState
from unmask.diffusion.schedule import Schedule


@dataclass(frozen=True)
class Loop(ScaledRemasker):
    """Write until a share ``alpha_on`` is shown, rewrite at that level for a while, then finish.

    Attributes:
        eta: cap on the chance while the clock stands still.
        t_on, t_off: the clock between which it stands still, 1 > t_on > t_off > 0.
        alpha_on: the keep probability at which it stands still.
    """

    t_on: float = 0.55
    t_off: float = 0.05
    alpha_on: float = 0.9
    reference = "arXiv 2503.00307"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 > self.t_on > self.t_off > 0:
            raise UsageError(f"t_on={self.t_on} and t_off={self.t_off} must hold 1 > t_on > t_off > 0")
        if not 0 < self.alpha_on < 1:
            raise UsageError(f"alpha_on={self.alpha_on} must lie inside (0, 1)")

    @classmethod
    def examples(cls) -> list[Loop]:
        return [cls(), cls(eta=0.3), cls(t_on=0.8), cls(t_off=0.4), cls(alpha_on=0.5)]

    def retime(self, t_R: Tensor, schedule: Schedule) -> Tensor:
        still = float(schedule.inverse(torch.tensor(self.alpha_on, dtype=torch.float64)))
        before_R = 1 - (1 - t_R) / (1 - self.t_on) * (1 - still)
        after_R = t_R / self.t_off * still
        return torch.where(t_R > self.t_on, before_R, torch.where(t_R < self.t_off, after_R, still))

    def sigma(self, canvas: SamplerState, t_R: Tensor, s_R: Tensor, alpha_t_R: Tensor, alpha_s_R: Tensor) -> Tensor:
        still_R = (t_R <= self.t_on) & (s_R >= self.t_off)
        sigma_R = sigma_max(alpha_t_R, alpha_s_R).clamp(max=self.eta)
        return torch.where(still_R, sigma_R, 0.0)[:, None]
