from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.diagnosis.law import DrawLaw, DrawnTokens


@dataclass(frozen=True)
class NoVector(DrawLaw):
    """The null condition, although a vector was given."""

    words = "the answer without a vector"
    repair = "condition.unused"

    def log_probs(self, drawn: DrawnTokens) -> Tensor | None:
        return None if drawn.cond is None else drawn.told(drawn.null_NV)
