from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Generated, Subject, Wrapped


@dataclass(frozen=True)
class IgnoredSeed(Fault):
    """A seed is set inside the sampler, so that every call writes the same."""

    caught_by = "seeds"
    kinds = ("masked", "causal")

    def inject(self, subject: Subject) -> Subject:
        class Fixed(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                return self.inner.generate(batch, 0, **settings)

        return Fixed(subject)
