from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Generated, Subject, Wrapped


@dataclass(frozen=True)
class ColderThanSaid(Fault):
    """Values are drawn at another temperature than the one reported."""

    caught_by = "draw_calibration"
    kinds = ("masked", "causal")

    factor: float = 0.6

    def inject(self, subject: Subject) -> Subject:
        factor = self.factor

        class Colder(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                asked = float(settings.get("temperature", 1.0))
                out = self.inner.generate(batch, seed, **{**settings, "temperature": factor * asked})
                return replace(out, temperature=asked)

        return Colder(subject)
