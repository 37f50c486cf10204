"""Key norm with sinks and recent tokens protected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kvpress.presses.knorm_press import KnormPress
from torch import Tensor, nn

from unmask.kvcache.presses._places import places, protect


@dataclass
class KnormProtectedPress(KnormPress):
    """Keeps keys of low norm (arXiv 2406.11430), and always the first and the most recent tokens.

    Without protection a rolling budget evicts recent tokens, whose keys have high norms.

    Args:
        sinks: how many first tokens always stay.
        recent: how many last tokens always stay.
    """

    sinks: int = 4
    recent: int = 32
    reference: ClassVar[str] = "2406.11430, 2309.17453"

    def score(
        self, module: nn.Module, hidden_states: Tensor, keys: Tensor, values: Tensor, attentions: Any, kwargs: Any
    ) -> Tensor:
        scores_BHK = super().score(module, hidden_states, keys, values, attentions, kwargs)
        return protect(scores_BHK, places(keys, kwargs), self.sinks, self.recent)
