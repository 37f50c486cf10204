from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.diagnosis.law import DrawLaw, DrawnTokens


@dataclass(frozen=True)
class GuidanceUnused(DrawLaw):
    """Guidance is told, and the vector's own answer is drawn from."""

    words = "the answer without guidance"
    repair = "sampler.guidance"

    def log_probs(self, drawn: DrawnTokens) -> Tensor | None:
        return drawn.told(drawn.plain_NV) if drawn.guided else None
