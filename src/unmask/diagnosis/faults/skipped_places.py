from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Generated, Step, Subject, Wrapped


@dataclass(frozen=True)
class SkippedPlaces(Fault):
    """The last places of a text are never drawn, and stay masked: a loop that ends too early."""

    caught_by = "traces"

    places: int = 2

    def inject(self, subject: Subject) -> Subject:
        places = self.places

        class Short(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                out = self.inner.generate(batch, seed, **settings)
                assert self.mask_id is not None
                ids_BL, steps = out.ids_BL.clone(), []
                ids_BL[:, -places:] = self.mask_id
                for step in out.steps or ():
                    x_BL, drawn_BL = step.x_BL.clone(), step.drawn_BL.clone()
                    x_BL[:, -places:], drawn_BL[:, -places:] = self.mask_id, False
                    steps.append(Step(x_BL, drawn_BL, step.t_B))
                return replace(out, ids_BL=ids_BL, steps=tuple(steps))

        return Short(subject)
