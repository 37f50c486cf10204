from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Generated, Subject, Wrapped


@dataclass(frozen=True)
class StrongGuidance(Fault):
    """Guidance so strong that the null condition, not the text, decides."""

    caught_by = "guidance"
    conditional = True

    gamma: float = 40.0

    def inject(self, subject: Subject) -> Subject:
        gamma = self.gamma

        class Pushed(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                return self.inner.generate(batch, seed, **{"guidance": gamma, **settings})

        return Pushed(subject)
