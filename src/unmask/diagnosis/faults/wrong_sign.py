from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unmask.core.random import Stream, generator
from unmask.diagnosis.causal import cached_run
from unmask.diagnosis.context import moved
from unmask.diagnosis.faults._cached import CacheFault, evicted
from unmask.diagnosis.subject import CachedRun


@dataclass(frozen=True)
class WrongSign(CacheFault):
    """The score has the wrong sign: the entries that matter most are evicted (first and last token apart)."""

    keep: float = 0.6

    def cached(self, model: Any, ids_BL: Tensor, start: int) -> CachedRun:
        B, inner = len(ids_BL), torch.arange(1, start - 1)
        left = max(1, round(self.keep * start) - 2)
        full_NV = evicted(model, ids_BL, start, torch.arange(start), self.keep).logits_NV
        matters = []
        for place in inner.tolist():
            without = torch.cat([torch.arange(place), torch.arange(place + 1, start)])
            gone_NV = evicted(model, ids_BL, start, without, self.keep).logits_NV
            matters.append(moved(full_NV, gone_NV).view(B, -1).mean(1))
        noise_BP = torch.rand(B, len(inner), generator=generator(0, Stream.ORDER))
        # ascending: what matters least stays, where what matters most should
        wrong, drawn = (
            _pass(model, ids_BL, start, 1 + score_BP.argsort(1)[:, :left], self.keep)
            for score_BP in (torch.stack(matters, 1), noise_BP)
        )
        return replace(wrong, control_NV=drawn.logits_NV)


def _pass(model: Any, ids_BL: Tensor, start: int, chosen_BK: Tensor, keep: float) -> CachedRun:
    """A cached pass whose rows hold entries of their own, beside the prefix's first and last."""
    ends_B2 = torch.tensor([[0, start - 1]]).expand(len(ids_BL), 2)
    held_BK = torch.cat([ends_B2, chosen_BK], 1).sort(1).values

    def evict(cache: Any, place: int) -> None:
        if place < 0:
            for layer in cache.layers:
                H, W = layer.keys.shape[1], layer.keys.shape[3]
                index = held_BK[:, None, :, None].expand(-1, H, -1, W).to(layer.keys.device)
                layer.keys, layer.values = layer.keys.gather(2, index), layer.values.gather(2, index)

    return cached_run(model, ids_BL, start, keep=keep, evict=evict)
