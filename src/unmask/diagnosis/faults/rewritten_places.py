from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from unmask.core.random import Stream, uniform
from unmask.core.sampling import categorical
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Generated, State, Step, Subject, Wrapped


@dataclass(frozen=True)
class RewrittenPlaces(Fault):
    """Blocks end one place late: the first place behind each is written twice, the second time while it is visible."""

    caught_by = "traces"

    block: int = 8

    def inject(self, subject: Subject) -> Subject:
        block = self.block

        class Overlapping(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                out = self.inner.generate(batch, seed, **settings)
                at_BL = torch.zeros_like(out.ids_BL, dtype=torch.bool)
                at_BL[:, block::block] = True
                logits_NV = self.inner.predict(State(out.ids_BL, at_BL, batch.cond))
                ids_BL, (row_N, col_N) = out.ids_BL.clone(), at_BL.nonzero(as_tuple=True)
                ids_BL[at_BL] = categorical(logits_NV, uniform(seed, row_N, col_N, Stream.REMASK))
                return replace(out, ids_BL=ids_BL, steps=(*(out.steps or ()), Step(out.ids_BL, at_BL)))

        return Overlapping(subject)
