"""Whole texts from a vector, a hypothesis and the hypothesis' own vector: what a corrector proposes.

Shapes: B rows, L positions, Z width of the vectors, n texts a row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Denoiser
from unmask.core.errors import UsageError
from unmask.core.random import Stream, hashed, uniform
from unmask.core.sampling import categorical, restrict
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate


def corrections(
    denoiser: Denoiser,
    z_BZ: Tensor,
    z_h_BZ: Tensor,
    hypothesis_BL: Tensor,
    n: int = 1,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    steps: int = 8,
    length: int | None = None,
    row_ids_B: Tensor | None = None,
    **plan: Any,
) -> Tensor:
    """Ids [B, n, L] of texts written anew from a vector, with a text that came near it in view.

    A row's texts are the same alone and in any batch. What comes is to be verified: encode it, and compare with ``z``.

    Args:
        denoiser: a corrector (:attr:`unmask.core.denoiser.Denoiser.corrects`).
        z_BZ: the vectors whose texts are wanted.
        z_h_BZ: the vectors of the hypotheses, by the same encoder.
        hypothesis_BL: their ids as the model's tokenizer writes them (with EOS, but for a model of lengths), and the
            model's padding behind them; a row of padding alone is written from its vector.
        n: texts a row.
        seed: of the noise.
        temperature: of the values and of the lengths drawn; 0 takes the most probable ones.
        steps: of writing, at most.
        length: positions of the canvas; for a model of lengths the tokens of each text. When None the model's longest
            canvas, or what it draws.
        row_ids_B: names of the rows in the noise; 0..B-1 when None.
        plan: other fields of :class:`unmask.decoding.plan.DecodingPlan`, such as ``order``.

    Returns:
        ids, with padding behind the shorter ones of a model of lengths.

    Raises:
        UsageError: no corrector, several texts at temperature 0 (they would be one), shapes that do not fit.
    """
    if not denoiser.corrects:
        raise UsageError("this model is no corrector: train one with task=correction")
    return sampled_drafts(
        denoiser,
        Condition.of(z_BZ).about(hypothesis_BL, z_h_BZ),
        n,
        seed=seed,
        temperature=temperature,
        steps=steps,
        length=length,
        row_ids_B=row_ids_B,
        **plan,
    )


@torch.no_grad()
def sampled_drafts(
    denoiser: Denoiser,
    cond: Condition,
    n: int = 1,
    *,
    seed: int = 0,
    temperature: float = 1.0,
    steps: int = 8,
    length: int | None = None,
    row_ids_B: Tensor | None = None,
    **plan: Any,
) -> Tensor:
    """Ids [B, n, L] of texts written from a condition; see :func:`corrections`."""
    if n < 1 or (n > 1 and temperature == 0):
        raise UsageError(f"n={n} must be at least 1, and 1 at temperature=0, where all would be one text")
    B, device = len(cond), cond.latent_BZ.device
    row_B = torch.arange(B, device=device) if row_ids_B is None else row_ids_B.to(device)
    copy_N, row_N = torch.arange(n, device=device).repeat(B), row_B.repeat_interleave(n)
    row_N = torch.where(copy_N == 0, row_N, hashed(0, row_N, copy_N))
    each = cond.repeat(n)
    log_p_NL = denoiser.length_log_probs(each, len(each)) if length is None else None
    valid_NL = None
    if log_p_NL is not None:
        count_N = log_p_NL.argmax(1) + 1
        if temperature:
            noise_N = uniform(seed, row_N, Stream.LENGTH)
            count_N = categorical(restrict(log_p_NL, temperature=temperature), noise_N) + 1
        x_NL, valid_NL = denoiser.ragged_canvas(count_N)
    else:
        width = length or denoiser.max_length
        if width is None:
            raise UsageError("this model has no longest canvas: say the length")
        x_NL = torch.full((len(each), width), denoiser.mask_id, device=device)
    how = DecodingPlan(steps=steps, temperature=temperature, seed=seed, **plan)
    found = generate(denoiser, x_NL, how, cond=each, valid_BL=valid_NL, row_ids_B=row_N, trace=None)
    return found.sequences.view(B, n, -1)
