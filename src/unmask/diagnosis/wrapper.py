"""A denoiser around a denoiser: what spies and planted faults derive from."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Body, Denoiser


class Through(Denoiser):
    """Passes everything on to the denoiser inside."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner = inner
        self.vocab_size, self.mask_id = inner.vocab_size, inner.mask_id
        self.pad_id, self.eos_id, self.max_length = inner.pad_id, inner.eos_id, inner.max_length
        self.conditional, self.wants_carry = inner.conditional, inner.wants_carry
        self.models_length = inner.models_length

    @property
    def training(self) -> bool:
        return bool(getattr(self.inner, "training", False))

    def train(self, mode: bool = True) -> None:
        self.inner.train(mode)  # type: ignore[attr-defined]

    def eval(self) -> None:
        self.train(False)

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        return self.inner.body(x_BL, cond, t_B, valid_BL=valid_BL, carry=carry)

    def length_log_probs(self, cond: Condition | None, rows: int) -> Tensor | None:
        return self.inner.length_log_probs(cond, rows)

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return self.inner.project(h_ND)

    def head(self, h_ND: Tensor) -> Tensor:
        return self.inner.head(h_ND)
