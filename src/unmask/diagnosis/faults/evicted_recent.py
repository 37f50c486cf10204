from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.diagnosis.faults._cached import CacheFault, evicted
from unmask.diagnosis.subject import CachedRun


@dataclass(frozen=True)
class EvictedRecent(CacheFault):
    """The newest tokens are not protected, and are evicted with the rest."""

    keep: float = 0.75

    def cached(self, model: Any, ids_BL: Tensor, start: int) -> CachedRun:
        return evicted(model, ids_BL, start, torch.arange(round(self.keep * start)), self.keep)
