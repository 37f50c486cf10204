from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import State, Subject, Wrapped


@dataclass(frozen=True)
class ShiftedLogits(Fault):
    """Inference shifts the logits of a causal model once more than training does."""

    caught_by = "target_alignment"
    kinds = ("causal",)

    def inject(self, subject: Subject) -> Subject:
        class Shifted(Wrapped):
            def predict(self, state: State) -> Tensor:
                at_BL = torch.ones_like(state.at_BL)
                at_BL[:, 0] = False
                whole = self.inner.predict(State(state.x_BL, at_BL, state.cond))
                B, L = state.x_BL.shape
                return whole.view(B, L - 1, -1).roll(-1, 1)[state.at_BL[:, 1:]]

        return Shifted(subject)
