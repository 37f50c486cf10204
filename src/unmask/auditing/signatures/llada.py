from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.auditing.foreign import Called, Sampler, Signature, WatchedModel


@dataclass(frozen=True)
class Llada(Signature):
    """``generate(model, prompt, steps=, gen_length=, block_length=, temperature=, remasking=, mask_id=, ...)``.

    Attributes:
        remasking: what the function is told, ``low_confidence`` or ``random``.
        blocks: how many blocks the canvas is written in.
    """

    reference = "2502.09992"
    remasking: str = "low_confidence"
    blocks: int = 1

    def write(self, sampler: Sampler, model: WatchedModel, x_BL: Tensor, steps: int, temperature: float) -> Tensor:
        given = int((x_BL[0] != model.law.mask_id).sum())
        length = x_BL.shape[1] - given
        out = Called(sampler)(
            model,
            x_BL[:, :given],
            steps=max(steps, self.blocks),
            gen_length=length,
            block_length=length // self.blocks,
            temperature=temperature,
            cfg_scale=0.0,
            remasking=self.remasking,
            mask_id=model.law.mask_id,
        )
        return out[0] if isinstance(out, tuple) else out  # type: ignore[no-any-return]
