from __future__ import annotations

from dataclasses import dataclass, replace

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Subject, TrainingView, Wrapped


@dataclass(frozen=True)
class DoubledBound(Fault):
    """A bound off by a factor: a public toolkit prints twice the bound, as its sum runs over both halves of a batch."""

    caught_by = "bound_calibration"
    kinds = ("masked", "causal")

    factor: float = 2.0

    @classmethod
    def examples(cls) -> list[DoubledBound]:
        return [cls(), cls(factor=0.8)]

    def inject(self, subject: Subject) -> Subject:
        factor = self.factor

        class Doubled(Wrapped):
            def training_view(self, batch: Batch, seed: int) -> TrainingView:
                view = self.inner.training_view(batch, seed)
                weight_N = None if view.weight_N is None else view.weight_N * factor
                return replace(view, loss=view.loss * factor, weight_N=weight_N)

        return Doubled(subject)
