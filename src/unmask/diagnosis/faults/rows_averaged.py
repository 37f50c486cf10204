from __future__ import annotations

from dataclasses import dataclass, replace

from unmask.core.errors import UsageError
from unmask.diagnosis.baselines import in_text
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Subject, TrainingView, Wrapped


@dataclass(frozen=True)
class RowsAveraged(Fault):
    """The reported bound is a mean of rows' means, each over the row's own tokens, where nats a token are told."""

    caught_by = "bylength"

    def inject(self, subject: Subject) -> Subject:
        class Averaged(Wrapped):
            def training_view(self, batch: Batch, seed: int) -> TrainingView:
                view = self.inner.training_view(batch, seed)
                if view.weight_N is None:
                    raise UsageError("this fault is planted where a view tells its weights")
                length_B = in_text(batch.ids_BL, self.eos_id, self.pad_id).sum(1).double()
                share_B = length_B.sum() / (len(length_B) * length_B)
                weight_N = view.weight_N * share_B[view.scored_BL.nonzero()[:, 0]].to(view.weight_N.device)
                return replace(view, weight_N=weight_N, loss=float((weight_N.cpu() * view.ce_N.cpu()).sum()))

        return Averaged(subject)
