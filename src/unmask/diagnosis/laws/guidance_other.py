from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.diagnosis.law import DrawLaw, DrawnTokens


@dataclass(frozen=True)
class GuidanceOther(DrawLaw):
    """Guidance of another strength than is told.

    Attributes:
        gamma: the strength.
    """

    words = "guidance of another strength"
    repair = "sampler.guidance"

    gamma: float = 2.0

    @classmethod
    def examples(cls) -> list[GuidanceOther]:
        return [cls(gamma) for gamma in (0.5, 1.5, 2.0, 3.0, 4.0, 5.0)]

    @property
    def said(self) -> str:
        return f"guidance of strength {self.gamma:g}"

    def log_probs(self, drawn: DrawnTokens) -> Tensor | None:
        if drawn.cond is None or drawn.out.guidance == self.gamma:
            return None
        return drawn.told(drawn.mixed(drawn.plain_NV, drawn.null_NV, self.gamma))
