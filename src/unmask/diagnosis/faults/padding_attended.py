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


class _Open(Through):
    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        return super().body(x_BL, cond, t_B, valid_BL=None, carry=carry)


@dataclass(frozen=True)
class PaddingAttended(Fault):
    """Positions that do not exist are attended to: the attention mask is accepted, and ignored."""

    caught_by = "future_invariance"

    def inject(self, subject: Subject) -> Subject:
        native = natively(subject)
        return with_denoiser(native, _Open(native.denoiser))
