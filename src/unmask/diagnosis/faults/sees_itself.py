from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, State, Subject, TrainingView, Wrapped


@dataclass(frozen=True)
class SeesItself(Fault):
    """A causal mask one too wide: each prediction has seen the token it predicts, and the loss is wonderful."""

    caught_by = "future_invariance"
    kinds = ("causal",)

    strength: float = 4.0

    def inject(self, subject: Subject) -> Subject:
        strength = self.strength

        class Leaky(Wrapped):
            def predict(self, state: State) -> Tensor:
                logits_NV = self.inner.predict(state).clone()
                seen_N = state.x_BL[state.at_BL]
                return logits_NV.scatter_add(1, seen_N[:, None], torch.full_like(logits_NV[:, :1], strength))

            def training_view(self, batch: Batch, seed: int) -> TrainingView:
                view = self.inner.training_view(batch, seed)
                logp_NV = self.predict(State(view.x_BL, view.scored_BL, view.cond)).log_softmax(-1)
                ce_N = -logp_NV.gather(1, batch.targets[view.scored_BL][:, None]).squeeze(1).double()
                return replace(view, ce_N=ce_N, loss=float(ce_N.mean()))

        return Leaky(subject)
