from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Generated, Subject, Wrapped


@dataclass(frozen=True)
class TooCold(Fault):
    """A temperature (declared, and honestly applied) that leaves little but the commonest words."""

    caught_by = "safe_words"

    temperature: float = 0.3

    def inject(self, subject: Subject) -> Subject:
        temperature = self.temperature

        class Cold(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                return self.inner.generate(batch, seed, **{"temperature": temperature, **settings})

        return Cold(subject)
