from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unmask.diagnosis.context import read
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._sampled import written
from unmask.diagnosis.subject import Batch, Generated, State, Subject, TrainingView, Wrapped


@dataclass(frozen=True)
class WordCounts(Fault):
    """A table of word counts in each column that never looks at what is visible: perfectly calibrated, and ignorant."""

    caught_by = "skill"

    def inject(self, subject: Subject) -> Subject:
        ids_NL = subject.data(20_000, "train").ids_BL
        all_V = torch.bincount(ids_NL.flatten(), minlength=subject.vocab_size).double() + 0.01
        if subject.mask_id is not None:
            all_V[subject.mask_id] = 0.0
        columns = [torch.bincount(ids_NL[:, c], minlength=subject.vocab_size) for c in range(ids_NL.shape[1])]
        logits_LV = (torch.stack(columns).double() + all_V / all_V.sum()).log().float()

        class Table(Wrapped):
            def predict(self, state: State) -> Tensor:
                return logits_LV.to(state.x_BL.device)[state.at_BL.nonzero()[:, 1]]

            def training_view(self, batch: Batch, seed: int) -> TrainingView:
                view = self.inner.training_view(batch, seed)
                logits_NV = self.predict(State(view.x_BL, view.scored_BL))
                ce_N = read(logits_NV, batch.targets[view.scored_BL])[0]
                loss = float(ce_N.mean())
                if view.weight_N is not None:
                    loss = float((view.weight_N.double().cpu() * ce_N).sum())
                return replace(view, ce_N=ce_N, loss=loss, logits_NV=None)

            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                return written(self, batch, seed)

        table = Table(subject)
        table.settings = {}
        return table
