from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from unmask.diagnosis.context import CHUNK_NUMBERS, read
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, State, Subject, TrainingView, Wrapped, everywhere


@dataclass(frozen=True)
class VisibleScored(Fault):
    """The validation loss is taken everywhere, over text most of which is shown: SGDD's "PPL 7.13" at t = 0.

    Attributes:
        clean: show the whole text (t = 0), as there; otherwise what training shows.
    """

    caught_by = "scored_visible"
    reference = "public repository RosMarinas/SGDD"

    clean: bool = True

    @classmethod
    def examples(cls) -> list[VisibleScored]:
        return [cls(), cls(clean=False)]

    def inject(self, subject: Subject) -> Subject:
        clean = self.clean

        class Everywhere(Wrapped):
            def training_view(self, batch: Batch, seed: int) -> TrainingView:
                view = self.inner.training_view(batch, seed)
                x_BL = batch.ids_BL if clean else view.x_BL
                at_BL = everywhere(x_BL)
                step = max(1, CHUNK_NUMBERS // (x_BL.shape[1] * self.vocab_size))
                parts = []
                for first in range(0, len(x_BL), step):
                    state = State(x_BL, at_BL, batch.cond).rows(first, first + step)
                    parts.append(read(self.inner.predict(state), batch.targets[first : first + step].flatten())[0])
                ce_N = torch.cat(parts)
                weight_N = torch.full_like(ce_N, 1 / len(ce_N))
                return replace(
                    view, x_BL=x_BL, scored_BL=at_BL, ce_N=ce_N, loss=float(ce_N.mean()), weight_N=weight_N, t_B=None
                )

        return Everywhere(subject)
