from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unmask.core.condition import Condition
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._sampled import written
from unmask.diagnosis.subject import Batch, Generated, State, Subject, Wrapped


@dataclass(frozen=True)
class StaleLogits(Fault):
    """Logits are computed before the canvas is updated, and used after: each step draws from an answer one step old."""

    caught_by = "replay"

    def inject(self, subject: Subject) -> Subject:
        class Late(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                def answer(x_BL: Tensor, before_BL: Tensor, at_BL: Tensor, cond: Condition | None) -> Tensor:
                    return self.inner.predict(State(before_BL, at_BL, cond))

                L = batch.ids_BL.shape[1]
                return written(self.inner, batch, seed, counts=[2] * (L // 2) + [L % 2], answer=answer)

        late = Late(subject)
        late.settings = {}
        return late
