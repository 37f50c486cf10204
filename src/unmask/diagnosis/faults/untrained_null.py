from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Body
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._training import natively, with_denoiser
from unmask.diagnosis.subject import Subject
from unmask.diagnosis.wrapper import Through


class _Untrained(Through):
    """What was never trained answers at random: rows without a condition get features of noise."""

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        out = super().body(x_BL, cond, t_B, valid_BL=valid_BL, carry=carry)
        if cond is not None and not bool(cond.present_B.all()):
            noise = torch.randn(out.h_BLD.shape[-1], generator=torch.Generator().manual_seed(0)).to(out.h_BLD)
            absent = ~cond.present_B[:, None, None]
            out.h_BLD = torch.where(absent, noise * out.h_BLD.std(), out.h_BLD)
        return out


@dataclass(frozen=True)
class UntrainedNull(Fault):
    """The condition was never dropped in training, and guidance is steered by a null that means nothing."""

    caught_by = "guidance"
    conditional = True

    def inject(self, subject: Subject) -> Subject:
        native = natively(subject)
        return with_denoiser(native, _Untrained(native.denoiser))
