from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.diagnosis.law import DrawLaw, DrawnTokens


@dataclass(frozen=True)
class GuidanceSwapped(DrawLaw):
    """Guidance with its branches swapped: away from the vector instead of towards it."""

    words = "guidance with its two branches swapped"
    repair = "sampler.guidance"

    def log_probs(self, drawn: DrawnTokens) -> Tensor | None:
        return drawn.told(drawn.mixed(drawn.null_NV, drawn.plain_NV)) if drawn.guided else None
