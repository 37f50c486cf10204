from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unmask.diagnosis.causal import cached_run
from unmask.diagnosis.lesions._cached import CacheLesion
from unmask.diagnosis.subject import CachedRun


@dataclass(frozen=True)
class StuckPositions(CacheLesion):
    """Every new token gets the position after the prefix: the counter of a rolling cache is never moved on."""

    def cached(self, model: Any, ids_BL: Tensor, start: int) -> CachedRun:
        return cached_run(model, ids_BL, start, position=lambda true, held: start)
