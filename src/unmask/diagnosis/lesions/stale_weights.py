from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.errors import WrongUse
from unmask.diagnosis.lesion import Lesion
from unmask.diagnosis.lesions._training import natively
from unmask.diagnosis.native import ask
from unmask.diagnosis.spy import watched
from unmask.diagnosis.subject import Batch, Generated, State, Subject, Wrapped


@dataclass(frozen=True)
class StaleWeights(Lesion):
    """Inference runs on other weights than validation: an average that lags behind, an older checkpoint."""

    caught_by = "train_inference"

    lag: float = 0.3

    def inject(self, subject: Subject) -> Subject:
        native = natively(subject)
        if not isinstance(native.denoiser, torch.nn.Module):
            raise WrongUse("this fault changes weights, and this denoiser has none")
        old = copy.deepcopy(native.denoiser)
        noise = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in old.parameters():
                start = torch.randn(p.shape, generator=noise).to(p) * p.std(unbiased=False)
                p.lerp_(start, self.lag)

        class Stale(Wrapped):
            def predict(self, state: State) -> Tensor:
                return ask(old, state)

            def generate(self, batch: Batch, seed: int, **settings: object) -> Generated:
                from dataclasses import replace

                return watched(old, batch, replace(native.plan, seed=seed, **settings))  # type: ignore[arg-type]

        return Stale(subject)
