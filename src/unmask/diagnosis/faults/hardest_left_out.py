from __future__ import annotations

from dataclasses import dataclass, replace

from unmask.core.errors import UsageError
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Subject, TrainingView, Wrapped


@dataclass(frozen=True)
class HardestLeftOut(Fault):
    """The hardest tokens are left out of the reported number as outliers, and the rest weighs as much as all did.

    Attributes:
        share: of the scored tokens that is left out.
    """

    caught_by = "evenly"

    share: float = 0.1

    def inject(self, subject: Subject) -> Subject:
        share = self.share

        class LeftOut(Wrapped):
            def training_view(self, batch: Batch, seed: int) -> TrainingView:
                view = self.inner.training_view(batch, seed)
                if view.weight_N is None:
                    raise UsageError("this fault is planted where a view tells its weights")
                kept_N = view.weight_N * (view.ce_N <= view.ce_N.quantile(1 - share)).to(view.weight_N)
                weight_N = kept_N * (view.weight_N.sum() / kept_N.sum())
                return replace(view, weight_N=weight_N, loss=float((weight_N.cpu() * view.ce_N.cpu()).sum()))

        return LeftOut(subject)
