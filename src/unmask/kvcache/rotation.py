"""Moving a rotary key to another position: rotating it by the difference (arXiv 2104.09864)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.kvcache.model import rotary_module

#: scalings whose angles are a fixed frequency times the position; the others change with the length of the text
FIXED = ("default", "linear", "llama3", "yarn")


def rotate(model: Any, keys_BHKD: Tensor, by_BHK: Tensor) -> Tensor:
    """Keys as they would be ``by_BHK`` positions later (earlier where negative).

    The angles are those of the model's own rotary module, in its own layout (first half against second half); the
    magnitude that YaRN adds to queries and keys is left alone.

    Raises:
        UsageError: the model has no rotary positions, or angles that depend on the length.
    """
    rotary: Any = rotary_module(model)
    if rotary is None:
        raise UsageError(f"{type(model).__name__} has no rotary positions, so its keys cannot be moved")
    kind = getattr(rotary, "rope_type", "default")
    if kind not in FIXED:
        raise UsageError(f"rotary positions of kind {kind!r} change with the length, so keys cannot be moved")
    inv_freq = rotary.inv_freq.to(keys_BHKD.device, torch.float32)
    angle_BHKF = by_BHK[..., None].float() * inv_freq
    cos, sin = angle_BHKF.cos().to(keys_BHKD.dtype), angle_BHKF.sin().to(keys_BHKD.dtype)
    half = inv_freq.shape[0]
    one, two, rest = keys_BHKD[..., :half], keys_BHKD[..., half : 2 * half], keys_BHKD[..., 2 * half :]
    return torch.cat([one * cos - two * sin, two * cos + one * sin, rest], dim=-1)
