from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Body
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._training import natively, with_denoiser
from unmask.diagnosis.subject import Subject
from unmask.diagnosis.wrapper import Through


class _Shifted(Through):
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
        out.h_BLD = out.h_BLD.roll(1, 1)
        return out


@dataclass(frozen=True)
class OffByOne(Fault):
    """A head that predicts the next position is read as one that predicts its own (a causal model made to denoise)."""

    caught_by = "target_alignment"

    def inject(self, subject: Subject) -> Subject:
        native = natively(subject)
        return with_denoiser(native, _Shifted(native.denoiser))
