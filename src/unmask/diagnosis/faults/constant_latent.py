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


class _Deaf(Through):
    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        if cond is not None:
            cond = Condition(torch.zeros_like(cond.latent_BZ), cond.present_B)
        return super().body(x_BL, cond, t_B, valid_BL=valid_BL, carry=carry)


@dataclass(frozen=True)
class ConstantLatent(Fault):
    """The encoder gives one vector for every text (a pooling of padding, a broken cache), in training and inference."""

    caught_by = "latent_use"
    conditional = True

    def inject(self, subject: Subject) -> Subject:
        native = natively(subject)
        return with_denoiser(native, _Deaf(native.denoiser))
