from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.diagnosis.law import DrawLaw, DrawnTokens, law_of


@dataclass(frozen=True)
class TopPUnsaid(DrawLaw):
    """Only the most probable ids up to a share p are drawn, and that is not told.

    Attributes:
        p: the share.
    """

    words = "the most probable ids alone"

    p: float = 0.9

    @classmethod
    def examples(cls) -> list[TopPUnsaid]:
        return [cls(p) for p in (0.5, 0.7, 0.8, 0.9, 0.95)]

    @property
    def said(self) -> str:
        return f"the most probable ids that hold {self.p:.0%} of the probability"

    def log_probs(self, drawn: DrawnTokens) -> Tensor | None:
        out = drawn.out
        if out.temperature == 0 or self.p >= (1.0 if out.top_p is None else out.top_p):
            return None
        return law_of(drawn.own_NV, out.temperature, out.top_k, self.p)
