from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.diagnosis.causal import cached_run, drop_entries
from unmask.diagnosis.faults._cached import CacheFault
from unmask.diagnosis.subject import CachedRun
from unmask.kvcache.budget import CacheBudget
from unmask.kvcache.eviction import evict, prepared
from unmask.kvcache.prefill import Prefill
from unmask.kvcache.protocols import Track


@dataclass(frozen=True)
class CompoundingRatio(CacheFault):
    """A share is kept after every token, so that the cache shrinks to almost nothing.

    Planted into a measurement it is a protocol (:class:`unmask.kvcache.protocols.When`): the ratio of the budget is
    applied again to what the last application left, so that after n times keep**n of the cache is there.

    Args:
        keep: the share kept each time, of a subject's cache; a measurement has its budget.
        interval: new tokens between two applications.
    """

    keep: float = 0.9
    interval: int = 1
    mode = "original"

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise UsageError(f"interval={self.interval} must be at least 1 token")

    def cached(self, model: Any, ids_BL: Tensor, start: int) -> CachedRun:
        def melt(cache: Any, place: int) -> None:
            if place < 0 or (place + 1 - start) % self.interval == 0:
                held = cache.get_seq_length()
                drop_entries(cache, torch.arange(held - max(1, int(held * self.keep)), held))

        return cached_run(model, ids_BL, start, keep=self.keep, evict=melt)

    def start(self, prefill: Prefill, press: Any, budget: CacheBudget) -> Track:
        """The compressed cache of a measurement, whose budget becomes a share of what is left."""
        if press is None or budget.whole:
            return Track(prefill, prefill.full(), growing=True)
        track = _Compounding(prefill, prefill.compressed(press, budget.tokens(prefill.length)), growing=True)
        track.press, track.interval, track.budget = press, self.interval, budget
        return track

    def __str__(self) -> str:
        return f"ratio applied again every {self.interval} tokens"


class _Compounding(Track):
    budget: CacheBudget

    def _evict(self) -> None:
        with prepared(self.press, self.model):
            evict(self.state, self._fresh, self.press, [self.budget.tokens(n) for n in self.state.slots()])
