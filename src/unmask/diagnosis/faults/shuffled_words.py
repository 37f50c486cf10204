from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from unmask.diagnosis.baselines import in_text
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Split, Subject, Wrapped


@dataclass(frozen=True)
class ShuffledWords(Fault):
    """The tokens of each training text stand in another order: a join that lost its sort."""

    caught_by = "data"
    kinds = ("masked", "causal")

    def inject(self, subject: Subject) -> Subject:
        class Shuffled(Wrapped):
            def data(self, n: int, split: Split = "held_out") -> Batch:
                batch = self.inner.data(n, split)
                if split == "held_out":
                    return batch
                ids_BL = batch.ids_BL
                # all but the end of the text, which stays where it is
                inside_BL = in_text(ids_BL, self.eos_id, self.pad_id)
                if self.eos_id is not None:
                    inside_BL = inside_BL & (ids_BL != self.eos_id)
                noise_BL = torch.rand(ids_BL.shape, generator=torch.Generator().manual_seed(0)).to(ids_BL.device)
                behind_L = 2.0 + torch.arange(ids_BL.shape[1], device=ids_BL.device)
                order_BL = torch.where(inside_BL, noise_BL, behind_L).argsort(1)
                return replace(batch, ids_BL=ids_BL.gather(1, order_BL), texts=None)

        return Shuffled(subject)
