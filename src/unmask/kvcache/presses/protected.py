"""Protection around any scoring press."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kvpress.presses.scorer_press import ScorerPress
from torch import Tensor, nn

from unmask.core.errors import UsageError
from unmask.kvcache.presses._places import places, protect


@dataclass
class ProtectedPress(ScorerPress):
    """Any scoring press, with the first and the most recent tokens never evicted.

    Args:
        press: the press whose scores decide about the others.
        sinks: how many first tokens always stay.
        recent: how many last tokens always stay.
    """

    press: Any = None
    compression_ratio: float = 0.0
    sinks: int = 4
    recent: int = 32
    reference: ClassVar[str] = "this project"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.press, ScorerPress):
            raise UsageError(
                f"protected wraps a press that scores tokens, not {self.press!r}: write protected:press=knorm"
            )

    def post_init_from_model(self, model: Any) -> None:
        self.press.post_init_from_model(model)

    def score(
        self, module: nn.Module, hidden_states: Tensor, keys: Tensor, values: Tensor, attentions: Any, kwargs: Any
    ) -> Tensor:
        self.press.compression_ratio = self.compression_ratio  # some presses score by how much must go
        scores_BHK = self.press.score(module, hidden_states, keys, values, attentions, kwargs)
        return protect(scores_BHK, places(keys, kwargs), self.sinks, self.recent)
