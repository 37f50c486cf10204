from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.diagnosis.causal import cached_run
from unmask.diagnosis.faults._cached import CacheFault
from unmask.diagnosis.subject import CachedRun


@dataclass(frozen=True)
class ReusedCache(CacheFault):
    """The cache still holds another text when a new one is read."""

    def cached(self, model: Any, ids_BL: Tensor, start: int) -> CachedRun:
        other = model(input_ids=ids_BL.flip(0)[:, :start], use_cache=True).past_key_values

        def mix(cache: Any, place: int) -> None:
            if place < 0:
                for mine, left in zip(cache.layers, other.layers, strict=True):
                    mine.keys = torch.cat([left.keys, mine.keys], 2)
                    mine.values = torch.cat([left.values, mine.values], 2)

        return cached_run(model, ids_BL, start, evict=mix)
