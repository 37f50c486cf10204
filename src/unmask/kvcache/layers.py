"""What an attention layer is given: noted for presses that need more than keys; its mask, replaced by the true one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class LayerInput:
    """What an attention layer was given, kept for a press that needs more than keys and values.

    Attributes:
        hidden_BLD: the layer's input.
        kwargs: the call's other arguments (``position_embeddings``, ``position_ids``).
        attentions: attention weights where the implementation gives them, else None.
    """

    hidden_BLD: Tensor
    kwargs: dict[str, Any] = field(default_factory=dict)
    attentions: Tensor | None = None

    def then(self, later: LayerInput) -> LayerInput:
        """This chunk followed by a later one."""
        merged = dict(later.kwargs)
        for name in ("position_embeddings", "position_ids"):
            one, two = self.kwargs.get(name), later.kwargs.get(name)
            if isinstance(one, tuple) and isinstance(two, tuple):
                merged[name] = tuple(torch.cat(pair, dim=1) for pair in zip(one, two, strict=True))
            elif isinstance(one, Tensor) and isinstance(two, Tensor):
                merged[name] = torch.cat([one, two], dim=-1)
        return LayerInput(torch.cat([self.hidden_BLD, later.hidden_BLD], dim=1), merged)


@contextlib.contextmanager
def hooked(attention: list[nn.Module], masks: list[Tensor] | None, record: list[LayerInput] | None) -> Iterator[None]:
    """Give each attention layer its own mask, and note what it was given, for the forwards inside the block.

    Args:
        attention: the attention layers.
        masks: one a layer, or None for the model's own.
        record: filled with one :class:`LayerInput` a layer, or None.
    """
    handles = []
    if record is not None:
        record[:] = [LayerInput(torch.empty(0))] * len(attention)
    differ = masks is not None and any(m is not masks[0] for m in masks)
    for i, module in enumerate(attention):
        if differ and masks is not None:
            handles.append(module.register_forward_pre_hook(_mask_hook(masks[i]), with_kwargs=True))
        if record is not None:
            handles.append(module.register_forward_hook(_record_hook(record, i), with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mask_hook(mask: Tensor) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "attention_mask": mask}

    return hook


def _record_hook(record: list[LayerInput], layer: int) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        kept: dict[str, Any] = {
            k: kwargs[k] for k in ("position_embeddings", "position_ids", "cache_position") if k in kwargs
        }
        attentions = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        record[layer] = LayerInput(hidden, kept, attentions if isinstance(attentions, Tensor) else None)

    return hook
