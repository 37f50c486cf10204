from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import State, Subject, Wrapped


@dataclass(frozen=True)
class DropoutOn(Fault):
    """eval() was forgotten: inference drops features (here: logits) at random."""

    caught_by = "train_inference"
    kinds = ("masked", "causal")

    rate: float = 0.1

    def inject(self, subject: Subject) -> Subject:
        rate = self.rate

        class Noisy(Wrapped):
            def predict(self, state: State) -> Tensor:
                logits_NV = self.inner.predict(state)
                kept = torch.rand(logits_NV.shape, device=logits_NV.device) >= rate
                return torch.where(torch.isfinite(logits_NV), logits_NV * kept / (1 - rate), logits_NV)

        return Noisy(subject)
