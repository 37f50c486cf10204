from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.diagnosis.causal import cached_run, drop_entries
from unmask.diagnosis.faults._cached import CacheFault
from unmask.diagnosis.faults._measured import misplaced
from unmask.diagnosis.subject import CachedRun
from unmask.kvcache.positions import PositionedCache


@dataclass(frozen=True)
class ShrunkenPositions(CacheFault):
    """Positions are taken from the length of a cache that was shortened: x1.6 perplexity at nine tenths kept."""

    keep: float = 0.9

    def cached(self, model: Any, ids_BL: Tensor, start: int) -> CachedRun:
        def evict(cache: Any, place: int) -> None:
            if place < 0:
                drop_entries(cache, torch.arange(start - max(1, int(start * self.keep)), start))

        return cached_run(model, ids_BL, start, keep=self.keep, evict=evict, position=lambda true, held: held)

    def measured(self) -> type[PositionedCache]:
        """The fault in a cache that is measured; it is what transformers does when no position is given."""
        return misplaced(lambda true, held, start: held)
