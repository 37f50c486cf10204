from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.core.random import Stream
from unmask.decoding.order import Candidates
from unmask.decoding.rule import Sampler, SamplerPlan, SamplerStep
from unmask.decoding.state import SamplerState


@dataclass(frozen=True)
class FirstHitting(Sampler):
    """The reverse process in continuous time: jump to the next moment at which a position is shown.

    With n masked the moment is tau * u^(1/n), and the position is uniform: exactly one forward a position and no grid
    error. The moments are in the trace; the denoiser's time is the masked share, as everywhere.
    """

    reference = "arXiv 2409.02908"
    exact = True

    def move(self, plan: SamplerPlan, canvas: SamplerState, candidates: Candidates) -> SamplerStep:
        open_RL = candidates.at_RL
        first_R1 = canvas.uniform_RL(Stream.ORDER).masked_fill(~open_RL, -1.0).argmax(1, keepdim=True)
        chosen_RL = torch.zeros_like(open_RL).scatter_(1, first_R1, True) & open_RL
        hidden_R = open_RL.sum(1).clamp(min=1)
        return SamplerStep(chosen_RL, canvas.time_R * canvas.uniform_R(Stream.TIME) ** (1 / hidden_R))
