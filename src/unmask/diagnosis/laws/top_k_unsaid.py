from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.diagnosis.law import DrawLaw, DrawnTokens, law_of


@dataclass(frozen=True)
class TopKUnsaid(DrawLaw):
    """Only the k most probable ids are drawn, and that is not told.

    Attributes:
        k: how many.
    """

    words = "the most probable ids alone"

    k: int = 10

    @classmethod
    def examples(cls) -> list[TopKUnsaid]:
        return [cls(k) for k in (2, 3, 5, 8, 10, 20, 30, 40, 50, 100)]

    @property
    def said(self) -> str:
        return f"the {self.k} most probable ids alone"

    def log_probs(self, drawn: DrawnTokens) -> Tensor | None:
        out, V = drawn.out, drawn.own_NV.shape[-1]
        if out.temperature == 0 or self.k >= min(V, V if out.top_k is None else out.top_k):
            return None
        return law_of(drawn.own_NV, out.temperature, self.k, out.top_p)
