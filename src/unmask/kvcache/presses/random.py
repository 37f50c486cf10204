"""Random tokens: the floor that any press must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from kvpress.presses.scorer_press import ScorerPress
from torch import Tensor, nn

from unmask.core.random import Stream, uniform
from unmask.kvcache.presses._places import places


@dataclass
class RandomPress(ScorerPress):
    """Keeps tokens at random, drawn anew for each layer, head and position, reproducibly.

    kvpress' own RandomPress draws the same tokens in every layer when it is seeded.

    Args:
        seed: of the draw.
    """

    compression_ratio: float = 0.0
    seed: int = 0
    reference: ClassVar[str] = "this project"

    def score(
        self, module: nn.Module, hidden_states: Tensor, keys: Tensor, values: Tensor, attentions: Any, kwargs: Any
    ) -> Tensor:
        heads = torch.arange(keys.shape[1], device=keys.device)[None, :, None]
        return uniform(self.seed, int(module.layer_idx), heads, places(keys, kwargs), Stream.ORDER)  # type: ignore[arg-type]
