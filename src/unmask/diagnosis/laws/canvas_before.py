from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.diagnosis.law import DrawLaw, DrawnTokens


@dataclass(frozen=True)
class CanvasBefore(DrawLaw):
    """The network was shown the canvas of one step before: its answer is one step old."""

    words = "the answer to the canvas one step before"

    def log_probs(self, drawn: DrawnTokens) -> Tensor | None:
        if bool((drawn.x_QL == drawn.before_QL).all()):
            return None
        logp_NV = drawn.answer(drawn.before_QL)
        if drawn.guided and drawn.cond is not None:
            logp_NV = drawn.mixed(logp_NV, drawn.answer(drawn.before_QL, drawn.cond.nulled()))
        return drawn.told(logp_NV)
