from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import State, Subject, Wrapped


@dataclass(frozen=True)
class MaskDrawn(Fault):
    """The mask id is a candidate like any other, and gets some of the probability."""

    caught_by = "mask_mass"

    mass: float = 0.1

    def inject(self, subject: Subject) -> Subject:
        mass = self.mass

        class Open(Wrapped):
            def predict(self, state: State) -> Tensor:
                logits_NV = self.inner.predict(state).clone()
                assert self.mask_id is not None
                logits_NV[:, self.mask_id] = logits_NV.logsumexp(-1) + torch.tensor(mass / (1 - mass)).log()
                return logits_NV

        return Open(subject)
