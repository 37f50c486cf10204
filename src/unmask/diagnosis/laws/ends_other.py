from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.diagnosis.law import DrawLaw, DrawnTokens


@dataclass(frozen=True)
class EndsOther(DrawLaw):
    """The end of the text and its padding made likelier, or less likely, than the answer says.

    Attributes:
        nats: what is added to their logits.
    """

    words = "the answer with another weight on the end of the text"
    repair = "sampler.length"

    nats: float = -4.0

    @classmethod
    def examples(cls) -> list[EndsOther]:
        return [cls(nats) for nats in (-8.0, -4.0, -2.0, 2.0, 4.0)]

    @property
    def said(self) -> str:
        return f"the answer with {self.nats:+g} nats on the end of the text"

    def log_probs(self, drawn: DrawnTokens) -> Tensor | None:
        if not drawn.ends:
            return None
        pushed_NV = drawn.own_NV.clone()
        pushed_NV[:, list(drawn.ends)] += self.nats
        return drawn.told(pushed_NV.log_softmax(-1))
