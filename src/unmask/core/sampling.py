"""Drawing a token from logits, exactly.

The default draw inverts the cumulative distribution in fp64 with *one* uniform a row; the Gumbel-max draw needs V of
them and is kept because the field's samplers use it. Both are exact; neither ever works in fp32, where Gumbel noise
stops at 16.64 and quietly lowers the temperature (arXiv 2409.02908).
"""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.core.errors import UnmaskError, UsageError
from unmask.core.random import Stream, uniform

#: what a draw and the statistics of a row say alike
NOTHING_TO_DRAW = "the denoiser's logits hold NaN, +inf or a row of -inf: nothing can be drawn from them"


def categorical(logits_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """One id a row [N], drawn from the softmax by inverting the cumulative distribution in fp64.

    Args:
        logits_NV: unnormalised log probabilities; ``-inf`` is never drawn.
        uniform_N: fp64 in (0, 1), from :func:`unmask.core.random.uniform`.

    Returns:
        ids, int64 [N].

    Raises:
        UnmaskError: a row holds NaN or +inf, or nothing but ``-inf``.
    """
    wide = logits_NV.double()
    cdf_NV = (wide - wide.amax(-1, keepdim=True)).exp_().cumsum_(-1)
    # the largest logit is subtracted, so that whatever is wrong anywhere in a row reaches its last column as NaN; the
    # search below would answer V-1 to that, which may be the mask id, and then writing never ends
    if not bool(torch.isfinite(cdf_NV[:, -1]).all()):
        raise UnmaskError(NOTHING_TO_DRAW)
    target_N1 = (uniform_N.double() * cdf_NV[:, -1]).unsqueeze(-1)
    # right=True: the first id whose cumulative mass *exceeds* the target, so an id without mass is never chosen
    return torch.searchsorted(cdf_NV, target_N1, right=True).squeeze(-1).clamp_(max=logits_NV.shape[-1] - 1)


def drawn_lengths(log_p_BL: Tensor, temperature: float = 0.0, seed: int = 0) -> Tensor:
    """How many tokens each row is to have [B], from the log probabilities of n = 1..L.

    A row's draw is named by the seed and its number: it is the same in any batch.

    Args:
        log_p_BL: from :meth:`unmask.core.denoiser.Denoiser.length_log_probs`.
        temperature: 0 takes the most probable length.
        seed: of the draws.
    """
    if temperature == 0:
        return log_p_BL.argmax(1) + 1
    noise_B = uniform(seed, torch.arange(len(log_p_BL), device=log_p_BL.device), Stream.LENGTH)
    return categorical(restrict(log_p_BL, temperature=temperature), noise_B) + 1


def gumbel(uniform_any: Tensor) -> Tensor:
    """Standard Gumbel noise from fp64 uniforms."""
    if uniform_any.dtype != torch.float64:
        raise UsageError(f"Gumbel noise needs float64 uniforms, got {uniform_any.dtype}: fp32 truncates it at 16.64")
    return -torch.log(-torch.log(uniform_any))


def gumbel_argmax(logits_NV: Tensor, seed: int, *names: Tensor | int) -> Tensor:
    """One id a row [N], drawn from the softmax by the Gumbel-max trick in fp64.

    Args:
        logits_NV: unnormalised log probabilities.
        seed: the run's seed.
        names: integer names of each row, [N] tensors or plain integers.

    Returns:
        ids, int64 [N].

    Raises:
        UnmaskError: a row holds NaN or +inf, or nothing but ``-inf``.
    """
    ids_V = torch.arange(logits_NV.shape[-1], device=logits_NV.device)
    rows = [n.unsqueeze(-1) if isinstance(n, Tensor) else n for n in names]
    best = (logits_NV.double() + gumbel(uniform(seed, *rows, Stream.VALUE, ids_V))).max(-1)
    if not bool(torch.isfinite(best.values).all()):
        raise UnmaskError(NOTHING_TO_DRAW)
    return best.indices


def restrict(
    logits_NV: Tensor, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Logits after temperature, then top-k, then top-p (nucleus, arXiv 1904.09751); excluded ids have ``-inf``.

    Temperature 0 leaves the logits as they are: the caller takes the argmax.

    Raises:
        UsageError: a negative temperature, ``top_k`` below 1, or ``top_p`` outside (0, 1].
    """
    if temperature < 0:
        raise UsageError(f"temperature={temperature} must not be negative")
    if temperature not in (0.0, 1.0):
        logits_NV = logits_NV / temperature
    if top_k is not None:
        if top_k < 1:
            raise UsageError(f"top_k={top_k} must be at least 1")
        if top_k < logits_NV.shape[-1]:
            kth_N1 = logits_NV.topk(top_k, dim=-1).values[:, -1:]
            logits_NV = logits_NV.masked_fill(logits_NV < kth_N1, float("-inf"))
    if top_p is not None:
        if not 0 < top_p <= 1:
            raise UsageError(f"top_p={top_p} must lie in (0, 1]")
        if top_p < 1:
            sorted_NV, order_NV = logits_NV.sort(dim=-1, descending=True)
            before_NV = sorted_NV.softmax(-1).cumsum(-1) - sorted_NV.softmax(-1)
            drop_NV = torch.zeros_like(logits_NV, dtype=torch.bool).scatter(-1, order_NV, before_NV >= top_p)
            logits_NV = logits_NV.masked_fill(drop_NV, float("-inf"))
    return logits_NV
