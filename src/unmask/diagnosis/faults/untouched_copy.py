from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.diagnosis.faults._cached import CacheFault, evicted
from unmask.diagnosis.subject import CachedRun


@dataclass(frozen=True)
class UntouchedCopy(CacheFault):
    """A copy of the cache is compressed and the original answers (and is timed): nothing was evicted."""

    keep: float = 0.5

    def cached(self, model: Any, ids_BL: Tensor, start: int) -> CachedRun:
        return evicted(model, ids_BL, start, torch.arange(start), self.keep)
