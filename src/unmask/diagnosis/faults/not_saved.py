from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Subject, Wrapped


@dataclass(frozen=True)
class NotSaved(Fault):
    """A part of the model is not saved, and starts at random when loaded."""

    caught_by = "weights"
    kinds = ("masked", "causal")

    def inject(self, subject: Subject) -> Subject:
        class Lossy(Wrapped):
            def reloaded(self) -> dict[str, Tensor]:
                weights = dict(self.inner.reloaded())
                name = next(n for n, w in weights.items() if w.is_floating_point() and w.ndim >= 2)
                weights[name] = torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(0))
                return weights

        return Lossy(subject)
