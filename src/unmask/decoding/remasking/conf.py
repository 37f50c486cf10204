from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.decoding.remask import Remasker, sigma_max
from unmask.decoding.state import SamplerState


@dataclass(frozen=True)
class Conf(Remasker):
    """What was written with little probability is masked first: sigma_max * softmax over written positions of -p.

    As in the paper, the chance to be shown stays that of plain ancestral sampling, so a little more is hidden on the
    way than the forward process has; the last step shows everything.
    """

    reference = "arXiv 2503.00307"
    needs_chance = True

    def sigma(self, canvas: SamplerState, t_R: Tensor, s_R: Tensor, alpha_t_R: Tensor, alpha_s_R: Tensor) -> Tensor:
        written_RL = canvas.inside_RL & (canvas.x_RL != canvas.mask_id)
        share_RL = torch.where(written_RL, (-canvas.chance_RL).exp(), 0.0)
        share_RL = share_RL / share_RL.sum(1, keepdim=True).clamp(min=1e-300)
        return sigma_max(alpha_t_R, alpha_s_R)[:, None] * share_RL
