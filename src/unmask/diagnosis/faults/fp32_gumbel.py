from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Subject, Wrapped


@dataclass(frozen=True)
class Fp32Gumbel(Fault):
    """Gumbel noise from fp32 uniforms, which ends at 16.64. Only the full budget draws often enough to see it."""

    caught_by = "draw_calibration"
    kinds = ("masked", "causal")
    needs_full = True
    reference = "arXiv 2409.02908"

    def inject(self, subject: Subject) -> Subject:
        class Truncated(Wrapped):
            def draw(self, logits_NV: Tensor, seed: int) -> Tensor:
                noise = torch.Generator().manual_seed(seed)
                u_NV = torch.rand(logits_NV.shape, generator=noise).clamp_(min=1e-20)
                return (logits_NV.cpu() - torch.log(-torch.log(u_NV))).argmax(-1).to(logits_NV.device)

        return Truncated(subject)
