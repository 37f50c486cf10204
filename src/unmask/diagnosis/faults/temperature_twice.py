from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Generated, Subject, Wrapped


@dataclass(frozen=True)
class TemperatureTwice(Fault):
    """The temperature divides the logits once in the model's wrapper and once in the sampler."""

    caught_by = "draw_calibration"
    kinds = ("masked", "causal")

    def inject(self, subject: Subject) -> Subject:
        class Twice(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                asked = float(settings.get("temperature", 1.0))
                out = self.inner.generate(batch, seed, **{**settings, "temperature": asked**2})
                return replace(out, temperature=asked)

        return Twice(subject)
