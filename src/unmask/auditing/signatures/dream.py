from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.auditing.foreign import Called, Sampler, Signature, WatchedModel


@dataclass(frozen=True)
class Dream(Signature):
    """``diffusion_generate(model, input_ids, max_new_tokens=, steps=, temperature=, alg=, ...)``; logits are shifted.

    Attributes:
        alg: what the function is told: ``origin``, ``maskgit_plus``, ``topk_margin`` or ``entropy``.
    """

    reference = "2508.15487"
    shifted = True
    alg: str = "origin"

    def write(self, sampler: Sampler, model: WatchedModel, x_BL: Tensor, steps: int, temperature: float) -> Tensor:
        given = int((x_BL[0] != model.law.mask_id).sum())
        out = Called(sampler)(
            model,
            x_BL[:, :given],
            max_new_tokens=x_BL.shape[1] - given,
            steps=steps,
            temperature=temperature,
            alg=self.alg,
            mask_token_id=model.law.mask_id,
        )
        return getattr(out, "sequences", out)  # type: ignore[no-any-return]
