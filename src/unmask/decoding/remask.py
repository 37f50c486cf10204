"""ReMDM: unmasked positions may be masked again, without changing the law at any time (arXiv 2503.00307)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.registry import Leaf, Registry
from unmask.decoding.state import SamplerState
from unmask.diffusion.schedule import Schedule


class Remasker(Leaf):
    """Gives the chance sigma that an unmasked position is masked again between times t and s < t.

    Any sigma in [0, :func:`sigma_max`] keeps the marginals of the forward process; 0 is plain ancestral sampling.

    Attributes:
        needs_chance: whether it asks for ``canvas.chance_RL``, the probability a value had when it was written.
    """

    needs_chance: ClassVar[bool] = False

    def retime(self, t_R: Tensor, schedule: Schedule) -> Tensor:
        """The schedule's time at clock ``t_R``; the clock itself unless the remasker stops it."""
        return t_R

    def sigma(self, canvas: SamplerState, t_R: Tensor, s_R: Tensor, alpha_t_R: Tensor, alpha_s_R: Tensor) -> Tensor:
        """Chances, fp64, [R, 1] or [R, L]."""
        raise NotImplementedError


@dataclass(frozen=True)
class ScaledRemasker(Remasker):
    """A remasker with one strength.

    Attributes:
        eta: strength in [0, 1].
    """

    eta: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise UsageError(f"eta={self.eta} must lie in [0, 1]: it is, or scales, a probability")


def sigma_max(alpha_t_R: Tensor, alpha_s_R: Tensor) -> Tensor:
    """The largest chance that keeps the marginals: min(1, (1 - alpha_s) / alpha_t)."""
    return ((1 - alpha_s_R) / alpha_t_R.clamp(min=1e-300)).clamp(max=1.0)


remaskers: Registry[Remasker] = Registry("remasker", "unmask.decoding.remasking", Remasker)
