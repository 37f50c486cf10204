from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Generated, Subject, Wrapped


@dataclass(frozen=True)
class SecretLeftToRight(Fault):
    """Confidences tie (all 1.0 at a low temperature) and the leftmost wins, so that "any order" is left to right."""

    caught_by = "order"
    reference = "DreamLM/Dream issue 72"

    def inject(self, subject: Subject) -> Subject:
        class Leftmost(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                asked = settings.get("order", "random")
                out = self.inner.generate(batch, seed, **{**settings, "order": "left_to_right"})
                if asked != "random":
                    out = replace(out, ids_BL=self.inner.generate(batch, seed, **settings).ids_BL)
                return replace(out, any_order=True)

        return Leftmost(subject)
