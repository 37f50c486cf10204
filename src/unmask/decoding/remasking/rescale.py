from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.decoding.remask import ScaledRemasker, sigma_max
from unmask.decoding.state import SamplerState


@dataclass(frozen=True)
class Rescale(ScaledRemasker):
    """A share of what is allowed: eta * sigma_max."""

    reference = "arXiv 2503.00307"

    @classmethod
    def examples(cls) -> list[Rescale]:
        return [cls(), cls(eta=0.5)]

    def sigma(self, canvas: SamplerState, t_R: Tensor, s_R: Tensor, alpha_t_R: Tensor, alpha_s_R: Tensor) -> Tensor:
        return self.eta * sigma_max(alpha_t_R, alpha_s_R)[:, None]
