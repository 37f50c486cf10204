from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unmask.core.condition import Condition
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._sampled import written
from unmask.diagnosis.subject import Batch, Generated, State, Subject, Wrapped


@dataclass(frozen=True)
class MixedProbabilities(Fault):
    """Guidance mixes probabilities where logits are told; what falls below zero is cut off."""

    caught_by = "replay"
    conditional = True

    gamma: float = 2.0

    def inject(self, subject: Subject) -> Subject:
        gamma = self.gamma

        class Mixed(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                def answer(x_BL: Tensor, before_BL: Tensor, at_BL: Tensor, cond: Condition | None) -> Tensor:
                    assert cond is not None
                    both = [
                        self.inner.predict(State(x_BL, at_BL, c)).double().softmax(-1) for c in (cond, cond.nulled())
                    ]
                    return (gamma * both[0] + (1 - gamma) * both[1]).clamp(min=0).log()

                return written(self.inner, batch, seed, answer=answer, guidance=gamma)

        mixed = Mixed(subject)
        mixed.settings = {}
        return mixed
