"""Where a slot's token is in the text, for presses that care for the first and the last tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def places(keys: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """True positions int64 [B, H, K] of the slots: handed over by the bench, or the slots' own order in kvpress."""
    known = kwargs.get("true_positions")
    if isinstance(known, Tensor) and known.shape == keys.shape[:3]:
        return known
    return torch.arange(keys.shape[2], device=keys.device).expand(keys.shape[:3])


def protect(scores_BHK: Tensor, places_BHK: Tensor, sinks: int, recent: int) -> Tensor:
    """Scores with the first ``sinks`` tokens of the text and the last ``recent`` of the cache above all others.

    Sinks come first, then recent tokens, the newest first: a budget smaller than both keeps the sinks.
    """
    wide = scores_BHK.to(torch.promote_types(scores_BHK.dtype, torch.float32))
    top = wide.amax(-1, keepdim=True)
    newest_BHK = places_BHK >= places_BHK.amax(-1, keepdim=True) - recent + 1
    wide = torch.where(newest_BHK & (recent > 0), top + 1 + (places_BHK + 1) / (places_BHK.amax() + 2), wide)
    return torch.where((places_BHK >= 0) & (places_BHK < sinks), top + 3, wide)
