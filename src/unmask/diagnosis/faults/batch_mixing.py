from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import State, Subject, Wrapped


@dataclass(frozen=True)
class BatchMixing(Fault):
    """Statistics over the batch: each answer is drawn towards the mean answer of the rows beside it."""

    caught_by = "batch_invariance"
    kinds = ("masked", "causal")

    share: float = 0.3

    def inject(self, subject: Subject) -> Subject:
        share = self.share

        class Mixed(Wrapped):
            def predict(self, state: State) -> Tensor:
                logits_NV = self.inner.predict(state)
                finite = torch.isfinite(logits_NV)
                mean_V = torch.where(finite, logits_NV, 0.0).mean(0)
                return torch.where(finite, logits_NV.lerp(mean_V.expand_as(logits_NV), share), logits_NV)

        return Mixed(subject)
