from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.diagnosis.law import DrawLaw, DrawnTokens


@dataclass(frozen=True)
class OtherVector(DrawLaw):
    """The vector of a neighbouring row of the batch: vectors and texts are shifted by one.

    Attributes:
        shift: 1 for the row before, -1 for the row behind.
    """

    words = "the vector of another row"
    repair = "condition.rows"

    shift: int = 1

    @classmethod
    def examples(cls) -> list[OtherVector]:
        return [cls(1), cls(-1)]

    @property
    def said(self) -> str:
        return f"the answer under the vector of the row {'before' if self.shift > 0 else 'behind'}"

    def log_probs(self, drawn: DrawnTokens) -> Tensor | None:
        cond = drawn.earlier if self.shift > 0 else drawn.later
        if cond is None:
            return None
        logp_NV = drawn.answer(cond=cond)
        return drawn.told(drawn.mixed(logp_NV, drawn.null_NV) if drawn.guided else logp_NV)
