from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._cached import causally
from unmask.diagnosis.subject import State, Subject, Wrapped


@dataclass(frozen=True)
class LengthPositions(Fault):
    """Positions depend on the row's length, so a prefix means something else in a longer row."""

    caught_by = "future_invariance"
    kinds = ("causal",)
    reference = "public repository LaurenceLong/TidalTransformer"

    def inject(self, subject: Subject) -> Subject:
        model = causally(subject).model

        class Stretched(Wrapped):
            def predict(self, state: State) -> Tensor:
                L = state.x_BL.shape[1]
                # steps of 1 at the length of the data, of 2 at half of it
                scale = max(1, round(self.full / L))
                position = (torch.arange(L, device=state.x_BL.device) * scale).expand_as(state.x_BL)
                logits = model(input_ids=state.x_BL, position_ids=position, use_cache=False).logits
                return logits[:, :-1][state.at_BL[:, 1:]]  # type: ignore[no-any-return]

            full = subject.data(1).ids_BL.shape[1]

        return Stretched(subject)
