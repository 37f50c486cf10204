from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.diagnosis.causal import cached_run
from unmask.diagnosis.faults._cached import CacheFault
from unmask.diagnosis.subject import CachedRun
from unmask.kvcache.positions import PositionedCache


class _StaleMask:
    """A model whose mask hides the first entries, as if they were the padding of another row."""

    def __init__(self, model: Any, hidden: int) -> None:
        self.model, self.hidden = model, hidden

    def eval(self) -> None:
        self.model.eval()

    def __call__(self, input_ids: Tensor, past_key_values: Any = None, **others: Any) -> Any:
        held = 0 if past_key_values is None else past_key_values.get_seq_length()
        mask_BS = torch.ones(len(input_ids), held + input_ids.shape[1], dtype=torch.long, device=input_ids.device)
        mask_BS[:, : min(self.hidden, held)] = 0
        return self.model(input_ids=input_ids, past_key_values=past_key_values, attention_mask=mask_BS, **others)


@dataclass(frozen=True)
class StaleMask(CacheFault):
    """The mask is that of another length: entries that are there are hidden."""

    hidden: int = 6

    def cached(self, model: Any, ids_BL: Tensor, start: int) -> CachedRun:
        return cached_run(_StaleMask(model, self.hidden), ids_BL, start)

    def measured(self) -> type[PositionedCache]:
        """The fault in a cache that is measured.

        transformers accepts a 2-D mask longer than the cache without a word; the surplus is cut off, so with padding
        in front the wrong columns are masked.
        """
        hidden = self.hidden

        class Stale(PositionedCache):
            def _mask(self, old_BHK: Tensor, pos_BL: Tensor, layer: int) -> Tensor:
                masked_BHK = old_BHK.clone()
                masked_BHK[..., :hidden] = -1
                return super()._mask(masked_BHK, pos_BL, layer)

        return Stale
