from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Body
from unmask.core.errors import UsageError
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._training import natively, with_denoiser
from unmask.diagnosis.subject import Batch, Generated, State, Subject, Wrapped
from unmask.diagnosis.wrapper import Through


class _Miscalled(Through):
    """Shows the padding id wherever the mask id was meant."""

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        assert self.pad_id is not None
        x_BL = x_BL.masked_fill(x_BL == self.mask_id, self.pad_id)
        return super().body(x_BL, cond, t_B, valid_BL=valid_BL, carry=carry)


@dataclass(frozen=True)
class OtherMaskId(Fault):
    """Inference starts from padding where training started from masks."""

    caught_by = "train_inference"

    def inject(self, subject: Subject) -> Subject:
        native = natively(subject)
        if native.pad_id is None:
            raise UsageError("this fault shows padding instead of masks, and this model has no padding id")
        other = with_denoiser(native, _Miscalled(native.denoiser))

        class Miscalled(Wrapped):
            def predict(self, state: State) -> Tensor:
                return other.predict(state)

            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                return other.generate(batch, seed, **settings)

        return Miscalled(subject)
