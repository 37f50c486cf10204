from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.diagnosis.law import DrawLaw, DrawnTokens


@dataclass(frozen=True)
class TemperatureOther(DrawLaw):
    """Another temperature than is told; none at all among them.

    Attributes:
        temperature: the one that is used.
    """

    words = "the answer at another temperature"
    repair = "sampler.temperature"

    temperature: float = 1.0

    @classmethod
    def examples(cls) -> list[TemperatureOther]:
        return [cls(t) for t in (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)]

    @property
    def said(self) -> str:
        return f"the answer at temperature {self.temperature:g}"

    def log_probs(self, drawn: DrawnTokens) -> Tensor | None:
        t = drawn.out.temperature
        return None if self.temperature in (t, t * t) else drawn.told(drawn.own_NV, self.temperature)
