from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._sampled import written
from unmask.diagnosis.subject import Batch, Generated, Subject, Wrapped


@dataclass(frozen=True)
class SharedNoise(Fault):
    """The generator is seeded anew for each row, so that all rows of a batch draw the same noise."""

    caught_by = "seeds"

    def inject(self, subject: Subject) -> Subject:
        class Alike(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                return written(self.inner, batch, seed, alike=True)

        same = Alike(subject)
        same.settings = {}
        return same
