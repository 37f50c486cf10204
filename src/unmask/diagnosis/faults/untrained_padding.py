from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._training import ShortTraining, natively, retrained
from unmask.diagnosis.subject import Batch, Subject, TrainingView, Wrapped


@dataclass(frozen=True)
class UntrainedPadding(Fault):
    """Training takes no loss on EOS and padding, so that no text ever ends."""

    caught_by = "length"
    trains = True
    reference = "ZHZisZZ/dllm issue 81"

    steps: int = 500

    def inject(self, subject: Subject) -> Subject:
        native = natively(subject)
        if not native.writes_padding:
            raise UsageError("this fault is planted into a model that writes its padding; this one draws its length")
        special = torch.tensor([i for i in (native.pad_id, native.eos_id) if i is not None])

        def words(ids_BL: Tensor) -> Tensor:
            return ~torch.isin(ids_BL, special)

        class Wordy(Wrapped):
            def training_view(self, batch: Batch, seed: int) -> TrainingView:
                view = self.inner.training_view(batch, seed)
                scored_BL = view.scored_BL & words(batch.ids_BL)
                kept_N = scored_BL[view.scored_BL]
                ce_N = view.ce_N[kept_N]
                weight_N = torch.full_like(ce_N, 1 / len(ce_N))
                return replace(
                    view, scored_BL=scored_BL, ce_N=ce_N, weight_N=weight_N, loss=float(ce_N.mean()), bound=False
                )

        return Wordy(retrained(subject, ShortTraining(steps=self.steps, score=words)))
