from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, State, Subject, TrainingView, Wrapped


@dataclass(frozen=True)
class LateLoss(Fault):
    """A causal model's loss starts behind the place that its sampler starts from, whose answer stays uniform."""

    caught_by = "trained_where_sampled"
    kinds = ("causal",)
    reference = "public repository LaurenceLong/TidalTransformer"

    def inject(self, subject: Subject) -> Subject:
        class Late(Wrapped):
            def first(self, width: int) -> int:
                return max(width // 4, 1)

            def training_view(self, batch: Batch, seed: int) -> TrainingView:
                view = self.inner.training_view(batch, seed)
                scored_BL = view.scored_BL.clone()
                scored_BL[:, : self.first(scored_BL.shape[1]) + 1] = False
                ce_N = view.ce_N[scored_BL[view.scored_BL]]
                weight_N = ce_N.new_full((len(ce_N),), 1 / len(ce_N))
                return replace(view, scored_BL=scored_BL, ce_N=ce_N, weight_N=weight_N, loss=float(ce_N.mean()))

            def predict(self, state: State) -> Tensor:
                logits_NV = self.inner.predict(state).clone()
                col_N = state.at_BL.nonzero()[:, 1]
                logits_NV[col_N == self.first(state.x_BL.shape[1])] = 0.0
                return logits_NV

        return Late(subject)
