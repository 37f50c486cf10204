from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Body
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._training import natively, with_denoiser
from unmask.diagnosis.subject import Batch, Generated, Subject, Wrapped
from unmask.diagnosis.wrapper import Through


class _Reversed(Through):
    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        t_B = None if t_B is None else 1 - t_B
        return super().body(x_BL, cond, t_B, valid_BL=valid_BL, carry=carry)


@dataclass(frozen=True)
class ReversedClock(Fault):
    """The sampler's time runs from 0 to 1 while the page fills."""

    caught_by = "time_direction"
    reference = "public repository RosMarinas/SGDD"

    def inject(self, subject: Subject) -> Subject:
        native = natively(subject)
        other = with_denoiser(native, _Reversed(native.denoiser))

        class Backwards(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                out = other.generate(batch, seed, **settings)
                steps = tuple(replace(s, t_B=None if s.t_B is None else 1 - s.t_B) for s in out.steps or ())
                return replace(out, steps=steps)

        return Backwards(subject)
