"""Mistakes to plant: each is a known way of getting KV-compression numbers wrong (for studies, tests and lesions).

None of them is reachable from a measurement: a planted cache is passed in by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.kvcache.budget import Budget
from unmask.kvcache.eviction import evict, prepared
from unmask.kvcache.positions import PositionedCache
from unmask.kvcache.prefill import Prefill
from unmask.kvcache.protocols import Track


class _SlotMasks(PositionedCache):
    """Masks as transformers makes them: by slot, blind to where a key came from."""

    def _masks(self, pos_BL: Tensor) -> list[Tensor] | None:
        return None


class ShrunkenPositions(_SlotMasks):
    """The next token's position is the cache's length: what transformers does when no position is given."""

    def _next(self, length: int) -> Tensor:
        held = self.slots()[0]
        return (held + torch.arange(length, device=self.next_B.device)).expand(len(self.next_B), -1)


class StuckPositions(_SlotMasks):
    """Every new token gets the position after the prefill: a counter that a rolling cache never moved on."""

    _start: int | None = None

    def _next(self, length: int) -> Tensor:
        if self._start is None and self.slots()[0]:
            self._start = int(self.next_B[0])
        start = self._start or 0
        return (start + torch.arange(length, device=self.next_B.device)).expand(len(self.next_B), -1)

    def clone(self) -> PositionedCache:
        twin = super().clone()
        twin._start = self._start  # type: ignore[attr-defined]
        return twin


class StoredOrder(PositionedCache):
    """Keys shuffled in storage: *not* a mistake, though often blamed. Attention does not see the order of its keys."""

    def select(self, layer: int, slots_BHN: Tensor) -> None:
        generator = torch.Generator().manual_seed(layer)
        order_N = torch.randperm(slots_BHN.shape[-1], generator=generator).to(slots_BHN.device)
        super().select(layer, slots_BHN[..., order_N])


class StaleMask(PositionedCache):
    """A mask that still has the full length: its columns are those of tokens that are gone.

    transformers accepts a 2-D mask longer than the cache without a word; the surplus is cut off, so with padding in
    front the wrong columns are hidden. Here the first slots are hidden as if they were the padding of another row.
    """

    stale = 4

    def _mask(self, old_BHK: Tensor, pos_BL: Tensor, layer: int) -> Tensor:
        hidden = old_BHK.clone()
        hidden[..., : self.stale] = -1
        return super()._mask(hidden, pos_BL, layer)


@dataclass(frozen=True)
class Compounding:
    """A protocol that applies the *ratio* again every ``interval`` tokens, to what the last application left.

    After n times keep**n of the cache is there; what was wanted is a budget.
    """

    interval: int = 1
    mode: str = "original"

    def start(self, prefill: Prefill, press: Any, budget: Budget) -> Track:
        if press is None or budget.whole:
            return Track(prefill, prefill.full(), growing=True)
        track = _CompoundingTrack(prefill, prefill.compressed(press, budget.tokens(prefill.length)), growing=True)
        track.press, track.interval, track.budget = press, self.interval, budget
        return track

    def __str__(self) -> str:
        return f"ratio applied again every {self.interval} tokens"


class _CompoundingTrack(Track):
    budget: Budget

    def _evict(self) -> None:
        with prepared(self.press, self.model):
            evict(self.state, self._fresh, self.press, [self.budget.tokens(n) for n in self.state.slots()])
