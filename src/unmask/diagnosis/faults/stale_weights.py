from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._training import natively, with_denoiser
from unmask.diagnosis.subject import Batch, Generated, State, Subject, Wrapped


@dataclass(frozen=True)
class StaleWeights(Fault):
    """Inference runs on other weights than validation: an average that lags behind, an older checkpoint."""

    caught_by = "train_inference"

    lag: float = 0.3

    def inject(self, subject: Subject) -> Subject:
        native = natively(subject)
        if not isinstance(native.denoiser, torch.nn.Module):
            raise UsageError("this fault changes weights, and this denoiser has none")
        old = copy.deepcopy(native.denoiser)
        noise = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in old.parameters():
                start = torch.randn(p.shape, generator=noise).to(p) * p.std(unbiased=False)
                p.lerp_(start, self.lag)

        other = with_denoiser(native, old)

        class Stale(Wrapped):
            def predict(self, state: State) -> Tensor:
                return other.predict(state)

            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                return other.generate(batch, seed, **settings)

        return Stale(subject)
