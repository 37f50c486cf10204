"""What the native bodies of LLaDA and Dream share: grouped rotary attention without a causal mask, strict loading.

Shapes: B batch, L length, D width, H query heads, G key heads, K head width.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unmask.core.errors import CheckpointError
from unmask.models.bidirectional_cache import BidirectionalKVCache
from unmask.models.layers import attention, rotate
from unmask.models.weights import check_fit, read_weights

M = TypeVar("M", bound=nn.Module)


def grouped_attention(
    q_BLD: Tensor,
    k_BLC: Tensor,
    v_BLC: Tensor,
    heads: int,
    key_heads: int,
    turn: tuple[Tensor, Tensor],
    bias: Tensor | None,
    memory: BidirectionalKVCache | None = None,
    layer: int = 0,
) -> Tensor:
    """Attention of H query heads over G = ``key_heads`` shared keys (arXiv 2305.13245), rotated in fp32.

    Args:
        turn: cos and sin [L, K/2], or [B, 1, C, K/2] of the positions being run.
        bias: added to the scores, broadcasting to [B, H, L, L], or None.
        memory, layer: where keys and values are remembered while only some positions are run.
    """

    def split(x: Tensor, n: int) -> Tensor:
        return x.unflatten(-1, (n, -1)).transpose(1, 2)

    def turned(x: Tensor) -> Tensor:
        return rotate(x.float(), *turn).to(x.dtype)

    q, k, v = turned(split(q_BLD, heads)), turned(split(k_BLC, key_heads)), split(v_BLC, key_heads)
    if memory is not None:
        k, v = memory.exchange(layer, k, v)
    if heads != key_heads:
        k, v = (x.repeat_interleave(heads // key_heads, dim=1) for x in (k, v))
    return attention(q, k, v, bias).transpose(1, 2).flatten(2)


def padding_bias(valid_BL: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """The attention bias [B, 1, 1, L] that masks padding; None where there is none."""
    if valid_BL is None:
        return None
    zero = torch.zeros(valid_BL.shape, dtype=dtype, device=valid_BL.device)
    return zero.masked_fill(~valid_BL, float("-inf"))[:, None, None]


def fill(build: Callable[[], M], folder: Path, dtype: torch.dtype | None) -> M:
    """A module with a folder's weights, built on the meta device and filled with the tensors as they are read.

    Raises:
        CheckpointError: weights missing, left over or of another shape.
    """
    with torch.device("meta"):
        model: Any = build()
    found = read_weights(folder)
    check_fit(model, found, folder)
    if dtype is not None:
        found = {name: tensor.to(dtype) for name, tensor in found.items()}
    model.load_state_dict(found, assign=True)
    return model.eval().requires_grad_(False)  # type: ignore[no-any-return]


def setting(raw: dict[str, Any], name: str, folder: Path) -> int:
    """A required integer of config.json.

    Raises:
        CheckpointError: it is missing or no whole number of at least 1.
    """
    value = raw.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"config.json in {str(folder)!r} has {name}={value!r}: a whole number above 0 is needed")
    return value
