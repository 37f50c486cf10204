from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._training import ShortTraining, retrained
from unmask.diagnosis.subject import Subject
from unmask.diffusion.process import MaskedBatch, MaskingProcess


@dataclass(frozen=True)
class CappedLaw(MaskingProcess):
    """Never hides more than ``cap`` of a row, as BERT's 15 %, or a code that clamps the ratio."""

    cap: float = 0.15

    def corrupt(
        self,
        clean_BL: Tensor,
        mask_id: int,
        generator: torch.Generator | None = None,
        open_BL: Tensor | None = None,
        part: tuple[int, int] | None = None,
        width: int | None = None,
    ) -> MaskedBatch:
        c = super().corrupt(clean_BL, mask_id, generator, open_BL, part, width)
        L = clean_BL.shape[1]
        # of what is hidden, keep the first few in an order that the masking has made random
        order_BL = torch.where(c.masked_BL, torch.rand(clean_BL.shape, generator=generator), 2.0)
        few_BL = c.masked_BL & (order_BL.argsort(1).argsort(1) < max(1, round(self.cap * L)))
        return replace(
            c,
            x_BL=clean_BL.masked_fill(few_BL, mask_id),
            masked_BL=few_BL,
            fraction_B=(few_BL.sum(1) / c.open_B).float(),
            weight_B=torch.full_like(c.weight_B, float("nan")),
        )


@dataclass(frozen=True)
class LowMaskTraining(Fault):
    """Trained on few hidden words only: a spelling checker, blind when everything is hidden."""

    caught_by = "loss_by_ratio"
    trains = True
    reference = "arXiv 2602.11047 (its public code clamps the ratio)"

    cap: float = 0.2
    steps: int = 600

    def inject(self, subject: Subject) -> Subject:
        if not 0 < self.cap < 1:
            raise UsageError(f"cap={self.cap} must lie in (0, 1)")
        law = CappedLaw("count", cap=self.cap)
        sick = retrained(subject, ShortTraining(steps=self.steps, law=law))
        sick.law = law
        return sick
