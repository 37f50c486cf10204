from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Generated, Subject, Wrapped


@dataclass(frozen=True)
class OneStep(Fault):
    """Everything is written in one step, each token blind to all others."""

    caught_by = "factorisation"

    def inject(self, subject: Subject) -> Subject:
        class Hasty(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                return self.inner.generate(batch, seed, **{"steps": 1, **settings})

        return Hasty(subject)
