from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._sampled import written
from unmask.diagnosis.subject import Batch, Generated, Subject, Wrapped


@dataclass(frozen=True)
class FrontLoaded(Fault):
    """Most tokens are written in the first step, when nothing is visible, and the rest one at a time."""

    caught_by = "schedule"

    first: float = 0.6

    def inject(self, subject: Subject) -> Subject:
        first = self.first

        class Hasty(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                L = batch.ids_BL.shape[1]
                start = round(first * L)
                return written(self.inner, batch, seed, counts=[start] + [1] * (L - start))

        hasty = Hasty(subject)
        hasty.settings = {}
        return hasty
