from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unmask.core.condition import Condition
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Generated, Subject, Wrapped


@dataclass(frozen=True)
class ShiftedRows(Fault):
    """The sampler gives each row the vector of the row before it: an index that counts from one."""

    caught_by = "replay"
    conditional = True

    def inject(self, subject: Subject) -> Subject:
        class Shifted(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                assert batch.cond is not None
                other = Condition.of(batch.cond.latent_BZ.roll(1, 0))
                moved = Batch(batch.ids_BL, other, texts=batch.texts, valid_BL=batch.valid_BL)
                return self.inner.generate(moved, seed, **settings)

        return Shifted(subject)
