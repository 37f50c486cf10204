"""Layers left uncompressed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from kvpress.presses.base_press import BasePress
from torch import Tensor, nn

from unmask.core.errors import UsageError


@dataclass
class SkipLayersPress(BasePress):
    """Any press, with some layers left full: the first two, as arXiv 2406.11430 does for some models.

    The layers that are skipped cost memory: compare at equal bytes, not at equal keep.

    Args:
        press: the press for the other layers.
        layers: which layers stay full.
        compression_ratio: of the layers that are compressed.
    """

    press: Any = None
    layers: tuple[int, ...] = (0, 1)
    compression_ratio: float = 0.0
    reference: ClassVar[str] = "2406.11430"

    def __post_init__(self) -> None:
        if not isinstance(self.press, BasePress):
            raise UsageError(f"skip_layers wraps a press, not {self.press!r}: write skip_layers:press=knorm,layers=0+1")

    def post_init_from_model(self, model: Any) -> None:
        self.press.post_init_from_model(model)

    def for_layer(self, layer: int) -> BasePress | None:
        """The press of a layer, None where it stays full."""
        return None if layer in self.layers else self.press

    def compress(
        self, module: nn.Module, hidden_states: Tensor, keys: Tensor, values: Tensor, attentions: Any, kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """kvpress' own way of calling a press."""
        own = self.for_layer(int(module.layer_idx))  # type: ignore[arg-type]
        if own is None or self.compression_ratio == 0:
            return keys, values
        own.compression_ratio = self.compression_ratio
        return own.compress(module, hidden_states, keys, values, attentions, kwargs)
