"""Key norm with the wrong sign: a mistake often made, kept as a control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kvpress.presses.knorm_press import KnormPress
from torch import Tensor, nn


@dataclass
class KnormHighPress(KnormPress):
    """Keeps keys of *high* norm: the sign of arXiv 2406.11430 turned round."""

    reference: ClassVar[str] = "this project"

    def score(
        self, module: nn.Module, hidden_states: Tensor, keys: Tensor, values: Tensor, attentions: Any, kwargs: Any
    ) -> Tensor:
        return -super().score(module, hidden_states, keys, values, attentions, kwargs)
