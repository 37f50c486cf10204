from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.diagnosis.law import DrawLaw, DrawnTokens


@dataclass(frozen=True)
class GuidanceOnProbabilities(DrawLaw):
    """Guidance that mixes probabilities instead of logits; what falls below zero is cut off."""

    words = "guidance on probabilities instead of logits"
    repair = "sampler.guidance"

    def log_probs(self, drawn: DrawnTokens) -> Tensor | None:
        if not drawn.guided:
            return None
        gamma = drawn.out.guidance
        mixed_NV = (gamma * drawn.plain_NV.exp() + (1 - gamma) * drawn.null_NV.exp()).clamp(min=0)
        return drawn.told((mixed_NV / mixed_NV.sum(-1, keepdim=True)).log())
