from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.diagnosis.faults._cached import CacheFault, evicted
from unmask.diagnosis.subject import CachedRun


@dataclass(frozen=True)
class EvictedSink(CacheFault):
    """The first tokens are evicted, to which heads with nothing to look at attend."""

    reference = "arXiv 2309.17453"

    keep: float = 0.75

    def cached(self, model: Any, ids_BL: Tensor, start: int) -> CachedRun:
        return evicted(model, ids_BL, start, torch.arange(start - round(self.keep * start), start), self.keep)
