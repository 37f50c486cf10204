"""Random tokens beside the attention sinks: the control that separates choosing well from keeping the sinks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from unmask.kvcache.presses._places import places, protect
from unmask.kvcache.presses.random import RandomPress


@dataclass
class RandomSinksPress(RandomPress):
    """Keeps the first tokens (attention sinks, arXiv 2309.17453) and others at random.

    Args:
        seed: of the draw.
        sinks: how many first tokens always stay.
    """

    sinks: int = 4
    reference: ClassVar[str] = "this project"

    def score(
        self, module: nn.Module, hidden_states: Tensor, keys: Tensor, values: Tensor, attentions: Any, kwargs: Any
    ) -> Tensor:
        noise_BHK = super().score(module, hidden_states, keys, values, attentions, kwargs)
        return protect(noise_BHK, places(keys, kwargs), self.sinks, 0)
