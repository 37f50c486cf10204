from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diffusion.schedule import Schedule


@dataclass(frozen=True)
class LinearSchedule(Schedule):
    """alpha = 1 - t: the masked fraction is the time (LLaDA, MDLM's canonical form)."""

    reference = "arXiv 2502.09992"

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def dalpha(self, t: Tensor) -> Tensor:
        return -torch.ones_like(t)

    def inverse(self, alpha: Tensor) -> Tensor:
        return 1 - alpha
