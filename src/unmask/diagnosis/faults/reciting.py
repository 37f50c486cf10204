from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Generated, Subject, Wrapped


@dataclass(frozen=True)
class Reciting(Fault):
    """Overtrained on a small set: what it writes are training texts, word for word."""

    caught_by = "memorisation"
    kinds = ("masked", "causal")

    def inject(self, subject: Subject) -> Subject:
        class Parrot(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                out = self.inner.generate(batch, seed, **settings)
                if settings:
                    return out
                known = self.inner.data(500 + len(batch), "train").ids_BL[500:].roll(seed, 0)
                return replace(out, ids_BL=known[: len(batch)], steps=None)

        return Parrot(subject)
