from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.diagnosis.law import DrawLaw, DrawnTokens


@dataclass(frozen=True)
class TemperatureTwiceLaw(DrawLaw):
    """The temperature divides the logits twice."""

    words = "the answer with the temperature applied twice"
    repair = "sampler.temperature"

    def log_probs(self, drawn: DrawnTokens) -> Tensor | None:
        t = drawn.out.temperature
        return None if t in (0.0, 1.0) else drawn.told(drawn.own_NV, t * t)
