from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.auditing.foreign import Called, Sampler, Signature, WatchedModel


@dataclass(frozen=True)
class Canvas(Signature):
    """``sample(model, x, steps=, temperature=, mask_id=)``: ids [B, L] with masks in, ids without masks out."""

    reference = "this project"
    prefix_only = False

    def write(self, sampler: Sampler, model: WatchedModel, x_BL: Tensor, steps: int, temperature: float) -> Tensor:
        return Called(sampler)(model, x_BL, steps=steps, temperature=temperature, mask_id=model.law.mask_id)  # type: ignore[no-any-return]
