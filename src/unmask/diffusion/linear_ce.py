"""Cross-entropy of a linear head on gathered rows, in chunks: never [N, V], let alone [B, L, V].

The gradient is computed in the forward pass (the weight of every row is known by then), so each chunk of logits is
made once and thrown away. Peak memory is one chunk, and the gradients of a few chunks in the working precision.
Compare arXiv 2411.09009, which does it on a GPU with recomputation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

#: logits worked on at once: 2**22 numbers, 16 MB in fp32, what a last-level cache holds
CHUNK_NUMBERS = 2**22
#: chunks that share their products with the head: those of a few dozen rows are slow, as each passes over the whole
#: head (and its gradient)
CHUNKS_A_PRODUCT = 8
#: ids whose gradient is made by one product in the working precision
IDS_A_PRODUCT = 2**12


def linear_cross_entropy(
    features_ND: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    target_N: Tensor,
    row_weight_N: Tensor,
    forbid: int | None = None,
    chunk_numbers: int = CHUNK_NUMBERS,
) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted cross-entropy of ``features @ weight.T + bias`` against ``target``, without holding [N, V] logits.

    Args:
        features_ND: inputs of the head.
        weight_VD, bias_V: the head.
        target_N: ids.
        row_weight_N: what each row's cross-entropy is multiplied by in the total.
        forbid: an id whose probability is zero (the mask id).
        chunk_numbers: logits held at a time.

    Returns:
        (total, ce_N, hit_N): the differentiable scalar ``sum(row_weight * ce)``; each row's cross-entropy in nats
        (detached, fp32); whether the most probable id is the target.
    """
    return _LinearCrossEntropy.apply(  # type: ignore[no-any-return,no-untyped-call]
        features_ND, weight_VD, bias_V, target_N, row_weight_N, forbid, chunk_numbers
    )


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        target_N: Tensor,
        row_weight_N: Tensor,
        forbid: int | None,
        chunk_numbers: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        N, V = len(features_ND), len(weight_VD)
        device = features_ND.device
        low = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else features_ND.dtype
        features, weight = features_ND.to(low), weight_VD.to(low)
        bias = None if bias_V is None else bias_V.float()
        needs_x, needs_w, needs_b = ctx.needs_input_grad[:3]
        needs = needs_x or needs_w or needs_b
        wide = torch.float64 if features_ND.dtype == torch.float64 else torch.float32

        ce_N = torch.empty(N, dtype=wide, device=device)
        hit_N = torch.empty(N, dtype=torch.bool, device=device)
        grad_x = torch.empty_like(features_ND) if needs_x else None
        grad_w = torch.zeros(weight_VD.shape, dtype=wide, device=device) if needs_w else None
        grad_b = torch.zeros(V, dtype=wide, device=device) if needs_b and bias_V is not None else None

        with torch.autocast(device.type, enabled=False):
            step = max(1, chunk_numbers // V)
            block = step * CHUNKS_A_PRODUCT
            room = torch.empty(min(block, N), V, dtype=low, device=device)
            for first in range(0, N, block):
                whole = slice(first, min(first + block, N))
                # logits of the block, which become its gradients a chunk at a time
                block_MV = room[: whole.stop - first]
                torch.mm(features[whole], weight.T, out=block_MV)
                for start in range(first, whole.stop, step):
                    part = slice(start, min(start + step, whole.stop))
                    logits = block_MV[start - first : part.stop - first].to(wide)
                    if bias is not None:
                        logits += bias
                    if forbid is not None:
                        logits[:, forbid] = float("-inf")
                    target = target_N[part, None]
                    top = logits.max(-1, keepdim=True)
                    hit_N[part] = top.indices[:, 0] == target[:, 0]
                    right = logits.gather(1, target)
                    logits = logits.sub_(top.values).exp_()
                    mass = logits.sum(-1, keepdim=True)
                    ce_N[part] = (mass.log() + top.values - right)[:, 0]
                    if not needs:
                        continue
                    rate = row_weight_N[part, None].to(wide)
                    grad = logits.mul_(rate / mass)
                    grad.scatter_add_(1, target, -rate)
                    if grad_b is not None:
                        grad_b += grad.sum(0)
                    block_MV[start - first : part.stop - first] = grad
                if grad_x is not None:
                    grad_x[whole] = (block_MV @ weight).to(grad_x.dtype)
                if grad_w is not None:
                    if low == wide:
                        grad_w.addmm_(block_MV.T, features[whole])
                        continue
                    # ids by the slice: a product as large as the head would stand beside its gradient
                    for ids in range(0, V, IDS_A_PRODUCT):
                        here = slice(ids, ids + IDS_A_PRODUCT)
                        grad_w[here] += block_MV[:, here].T @ features[whole]
        ctx.grads = (grad_x, grad_w, grad_b)
        ctx.dtypes = (weight_VD.dtype, None if bias_V is None else bias_V.dtype)
        ctx.mark_non_differentiable(ce_N, hit_N)
        return (ce_N * row_weight_N.to(wide)).sum(), ce_N, hit_N

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        scale = upstream[0]
        grad_x, grad_w, grad_b = ctx.grads
        ctx.grads = None  # one backward pass: the buffers are as large as the head
        return (
            None if grad_x is None else grad_x.mul_(scale),
            None if grad_w is None else grad_w.mul_(scale).to(ctx.dtypes[0]),
            None if grad_b is None else grad_b.mul_(scale).to(ctx.dtypes[1]),
            None,
            None,
            None,
            None,
        )
