from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Body
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._training import natively, with_denoiser
from unmask.diagnosis.subject import Batch, Subject, TrainingView, Wrapped
from unmask.diagnosis.wrapper import Through


class _Blank(Through):
    """No features at the first place, so that its answer is the head's bias alone."""

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
        out.h_BLD = out.h_BLD.clone()
        out.h_BLD[:, 0] = 0.0
        return out


@dataclass(frozen=True)
class UntrainedPlace(Fault):
    """The loss starts one place too late: the first token was never trained, yet inference draws it."""

    caught_by = "trained_where_sampled"
    reference = "public repository LaurenceLong/TidalTransformer"

    def inject(self, subject: Subject) -> Subject:
        native = natively(subject)

        class Late(Wrapped):
            def training_view(self, batch: Batch, seed: int) -> TrainingView:
                view = self.inner.training_view(batch, seed)
                scored_BL = view.scored_BL.clone()
                scored_BL[:, 0] = False
                kept_N = scored_BL[view.scored_BL]
                ce_N = view.ce_N[kept_N]
                weight_N = None if view.weight_N is None else view.weight_N[kept_N] * len(kept_N) / len(ce_N)
                loss = float(ce_N.mean()) if weight_N is None else float((weight_N * ce_N).sum())
                return replace(view, scored_BL=scored_BL, ce_N=ce_N, weight_N=weight_N, loss=loss, logits_NV=None)

        return Late(with_denoiser(native, _Blank(native.denoiser)))
