from __future__ import annotations

from dataclasses import dataclass, replace

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Subject, TrainingView, Wrapped


@dataclass(frozen=True)
class PaddingInDivisor(Fault):
    """The bound's sum is divided by all positions, padding included, so that short texts look cheap."""

    caught_by = "bound_calibration"

    def inject(self, subject: Subject) -> Subject:
        class Padded(Wrapped):
            def training_view(self, batch: Batch, seed: int) -> TrainingView:
                view = self.inner.training_view(batch, seed)
                if view.weight_N is None:
                    return view
                share = float((batch.ids_BL != self.pad_id).double().mean()) if self.pad_id is not None else 1.0
                weight_N = view.weight_N * share
                return replace(view, loss=float((weight_N * view.ce_N).sum()), weight_N=weight_N)

        return Padded(subject)
