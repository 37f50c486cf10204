from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unmask.core.random import Stream
from unmask.decoding.order import Candidates
from unmask.decoding.rule import Sampler, SamplerPlan, SamplerStep
from unmask.decoding.state import SamplerState
from unmask.diffusion.schedule import Schedule, schedules


@dataclass(frozen=True)
class Ancestral(Sampler):
    """The reverse process on a grid: each masked position is unmasked with chance (alpha_s - alpha_t) / (1 - alpha_t).

    Called vanilla by Kim et al. A step that shows nothing costs no forward. With ``remasking`` the chance becomes
    (alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t), and an unmasked position is masked again with chance sigma (ReMDM).

    Attributes:
        schedule: keep probability alpha over the clock.
    """

    schedule: str = "linear"
    reference = "arXiv 2406.07524"
    uses = frozenset({"steps", "remasking"})

    def __post_init__(self) -> None:
        _ = self.law

    @classmethod
    def examples(cls) -> list[Ancestral]:
        return [cls(), cls(schedule="cosine")]

    @cached_property
    def law(self) -> Schedule:
        """The schedule as an instance."""
        return schedules.make(self.schedule)

    def move(self, plan: SamplerPlan, canvas: SamplerState, candidates: Candidates) -> SamplerStep:
        steps_R = canvas.steps_R.double()
        t_R = ((steps_R - canvas.step_R) / steps_R).clamp(min=0)
        s_R = ((steps_R - canvas.step_R - 1) / steps_R).clamp(min=0)
        remasker = plan.remasker
        if remasker is None:
            alpha_t_R, alpha_s_R = self._alphas(t_R, s_R)
            sigma_RL = torch.zeros(len(canvas), 1, dtype=torch.float64, device=t_R.device)
        else:
            alpha_t_R, alpha_s_R = self._alphas(remasker.retime(t_R, self.law), remasker.retime(s_R, self.law))
            sigma_RL = remasker.sigma(canvas, t_R, s_R, alpha_t_R, alpha_s_R)
        stay_RL = (1 - sigma_RL) * alpha_t_R[:, None]
        chance_RL = (alpha_s_R[:, None] - stay_RL) / (1 - alpha_t_R[:, None]).clamp(min=1e-300)
        # the last step shows everything, whatever rounding says
        chance_RL = torch.where((canvas.step_R + 1 >= canvas.steps_R)[:, None], 1.0, chance_RL)
        shown_RL = candidates.at_RL & (canvas.uniform_RL(Stream.QUOTA) < chance_RL)
        hide_RL = None
        if remasker is not None:
            written_RL = canvas.inside_RL & ~candidates.at_RL
            hide_RL = written_RL & (canvas.uniform_RL(Stream.REMASK) < sigma_RL)
        return SamplerStep(shown_RL, s_R, hide_RL)

    def block_done(self, plan: SamplerPlan, canvas: SamplerState) -> Tensor:
        shown_R = super().block_done(plan, canvas)
        # what is unmasked may be masked again until the last step
        return shown_R if plan.remasker is None else shown_R & (canvas.step_R >= canvas.steps_R)

    def _alphas(self, t_R: Tensor, s_R: Tensor) -> tuple[Tensor, Tensor]:
        return self.law.alpha(t_R).clamp(0, 1), self.law.alpha(s_R).clamp(0, 1)
