"""Unmask a canvas: one function for every order, quota, sampler, guidance and block length.

Shapes: B rows of the batch, L length (docs/notation.md).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Denoiser
from unmask.core.errors import UsageError
from unmask.core.random import hashed
from unmask.decoding.loop import Callback, Progress, SamplerOutput, SamplingLoop, TokenHook
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.reference import Style, generate_reference

__all__ = ["DecodingPlan", "SamplerOutput", "Progress", "generate"]


@torch.no_grad()
def generate(
    denoiser: Denoiser,
    x_BL: Tensor,
    plan: DecodingPlan | None = None,
    *,
    fill_BL: Tensor | None = None,
    cond: Condition | None = None,
    valid_BL: Tensor | None = None,
    row_ids_B: Tensor | None = None,
    num_return_sequences: int = 1,
    trace: Literal["committed", "full"] | None = "committed",
    callback: Callback | None = None,
    token_hook: TokenHook | None = None,
    reference: bool | Style = False,
) -> SamplerOutput:
    """The batch with its masked positions unmasked. Given tokens are never touched; no position stays masked.

    A row gives the same tokens alone and in any batch: noise is named by seed, row id, the row's own step, place and
    use. Rows that are finished leave the batch; the head runs only on rows that somebody asks for.

    Args:
        denoiser: the model.
        x_BL: ids; positions to be written hold the mask id (or anything, where ``fill_BL`` says so).
        plan: how; the defaults of :class:`DecodingPlan` when None.
        fill_BL: positions to be written; those that hold the mask id when None.
        cond: semantic vectors, one a row.
        valid_BL: False where a position does not exist (padding, on either side).
        row_ids_B: names of the rows in the noise; 0..B-1 when None. Give the index in the data set to make results
            independent of batching and ranks.
        num_return_sequences: samples a row; the first equals the one made alone.
        trace: ``committed`` keeps an event a written position, ``full`` also the best guess at every candidate, None
            nothing.
        callback: called after each step with a :class:`Progress`, whose ``at_end`` closes what it opens.
        token_hook: called as ``hook(step, x_BL) -> x_BL`` before the first step (step None) and after each; it may
            change any position that is to be written, and what it masks again is unmasked again.
        reference: ``llada`` (True), ``fast_dllm``, ``dllm`` or ``dream``: that sampler's own tokens under the same
            ``torch.manual_seed``, slowly and without a trace (:mod:`unmask.decoding.reference`).

    Raises:
        UsageError: shapes that do not fit, a canvas longer than the model allows, guidance with nothing to guide by.
    """
    plan = plan or DecodingPlan()
    if reference:
        given = {
            "fill_BL": fill_BL,
            "row_ids_B": row_ids_B,
            "callback": callback,
            "token_hook": token_hook,
            "num_return_sequences": None if num_return_sequences == 1 else num_return_sequences,
        }
        vain = next((name for name, value in given.items() if value is not None), None)
        if vain is not None:
            raise UsageError(f"{vain} has no effect with reference={reference!r}: leave it out")
        style: Style = "llada" if reference is True else reference
        return generate_reference(denoiser, x_BL, plan, style, cond=cond, valid_BL=valid_BL)
    if trace not in (None, "committed", "full"):
        raise UsageError(f"trace={trace!r} must be 'committed', 'full' or None")
    run = SamplingLoop(denoiser, plan, trace, callback, token_hook)
    with run.ending:
        return run.go(*_prepare(denoiser, x_BL, fill_BL, cond, valid_BL, row_ids_B, num_return_sequences))


def _prepare(
    denoiser: Denoiser,
    x_BL: Tensor,
    fill_BL: Tensor | None,
    cond: Condition | None,
    valid_BL: Tensor | None,
    row_ids_B: Tensor | None,
    copies: int,
) -> tuple[Tensor, Tensor, Condition | None, Tensor | None, Tensor]:
    if x_BL.ndim != 2 or x_BL.is_floating_point() or x_BL.numel() == 0:
        raise UsageError(f"x_BL must be ids [B, L] with at least one position, got {x_BL.dtype} {tuple(x_BL.shape)}")
    B, L = x_BL.shape
    if denoiser.max_length is not None and denoiser.max_length < L:
        raise UsageError(f"a canvas of {L} tokens is longer than the model's {denoiser.max_length} positions")
    fill_BL = (x_BL == denoiser.mask_id) if fill_BL is None else fill_BL
    for name, grid in (("fill_BL", fill_BL), ("valid_BL", valid_BL)):
        if grid is not None and (grid.shape != x_BL.shape or grid.dtype != torch.bool):
            raise UsageError(f"{name} must be bool {tuple(x_BL.shape)}, got {grid.dtype} {tuple(grid.shape)}")
    if valid_BL is not None:
        if bool((fill_BL & ~valid_BL).any()):
            row = int((fill_BL & ~valid_BL).any(1).nonzero()[0])
            raise UsageError(f"row {row} has positions to be written that do not exist (valid_BL is False there)")
        valid_BL = None if bool(valid_BL.all()) else valid_BL
    given_BL = x_BL if valid_BL is None else x_BL.masked_fill(~valid_BL, 0)
    outside = given_BL[(given_BL < 0) | (given_BL >= denoiser.vocab_size)]
    if len(outside):
        raise UsageError(f"id {int(outside[0])} lies outside the model's vocabulary of {denoiser.vocab_size}")
    if cond is not None and len(cond) != B:
        raise UsageError(f"{len(cond)} semantic vectors do not fit {B} rows")
    if row_ids_B is not None and row_ids_B.shape != (B,):
        raise UsageError(f"row_ids_B must have shape ({B},), got {tuple(row_ids_B.shape)}")
    ids_B = torch.arange(B, device=x_BL.device) if row_ids_B is None else row_ids_B.to(x_BL.device)
    if copies < 1:
        raise UsageError(f"num_return_sequences={copies} must be at least 1")
    if copies > 1:
        x_BL, fill_BL = x_BL.repeat_interleave(copies, 0), fill_BL.repeat_interleave(copies, 0)
        valid_BL = None if valid_BL is None else valid_BL.repeat_interleave(copies, 0)
        cond = None if cond is None else cond.repeat(copies)
        copy = torch.arange(copies, device=x_BL.device).repeat(B)
        ids_B = ids_B.repeat_interleave(copies)
        ids_B = torch.where(copy == 0, ids_B, hashed(0, ids_B, copy))
    return x_BL, fill_BL, cond, valid_BL, ids_B
