from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.diagnosis.faults._cached import CacheFault, evicted
from unmask.diagnosis.subject import CachedRun


@dataclass(frozen=True)
class KeptRemoved(CacheFault):
    """The share to keep is taken for the share to remove: of 0.8 a fifth is left."""

    keep: float = 0.8

    def cached(self, model: Any, ids_BL: Tensor, start: int) -> CachedRun:
        left = max(2, start - round(self.keep * start))
        held = torch.cat([torch.zeros(1, dtype=torch.long), torch.arange(start - left + 1, start)])
        return evicted(model, ids_BL, start, held, self.keep)
