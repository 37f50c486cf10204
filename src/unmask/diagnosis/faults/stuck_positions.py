from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unmask.diagnosis.causal import cached_run
from unmask.diagnosis.faults._cached import CacheFault
from unmask.diagnosis.faults._measured import misplaced
from unmask.diagnosis.subject import CachedRun
from unmask.kvcache.positions import PositionedCache


@dataclass(frozen=True)
class StuckPositions(CacheFault):
    """Every new token gets the position after the prefix: the counter of a rolling cache is never moved on."""

    def cached(self, model: Any, ids_BL: Tensor, start: int) -> CachedRun:
        return cached_run(model, ids_BL, start, position=lambda true, held: start)

    def measured(self) -> type[PositionedCache]:
        """The fault in a cache that is measured."""
        return misplaced(lambda true, held, start: start)
