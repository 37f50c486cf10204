"""The prefill: a context run through the model once, compressed as often as wanted.

A press acts on a layer's cache after that layer's attention is done, so the hidden states of the prefill do not depend
on it: one prefill with what each layer was given serves every press and every budget, exactly as if each had run its
own (tests hold it to that). Presses that work through hooks of their own get a prefill of their own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.kvcache.budget import ratio_for
from unmask.kvcache.eviction import PressFailed, evict, has_hooks, prepared, reasons, set_ratio, store_kept
from unmask.kvcache.layers import LayerInput
from unmask.kvcache.positions import PositionedCache


class Prefill:
    """A prefilled context: the uncompressed cache, to be copied and compressed.

    Args:
        model: a causal model.
        ids_BL: the context; all rows have the same length (see :meth:`PositionedCache.join` for others).
        mode: where tokens are after an eviction (:class:`PositionedCache`).
        chunk: read the context in pieces of this many tokens; compression still sees all of it.
        cache: class of the cache; planted faults derive their own.

    Attributes:
        state: the full cache. Never fed: :meth:`full` and :meth:`compressed` give copies.
        seen: what each attention layer was given.
        logits_BV: of the last context token. No press changes them, so the first token after the context says nothing
            about compression and is left out of every score.
    """

    def __init__(
        self,
        model: Any,
        ids_BL: Tensor,
        *,
        mode: str = "original",
        chunk: int | None = None,
        cache: type[PositionedCache] = PositionedCache,
    ) -> None:
        if ids_BL.ndim != 2 or ids_BL.shape[1] < 1:
            raise UsageError(f"a prefill needs ids [B, L] with at least one token, got shape {tuple(ids_BL.shape)}")
        if chunk is not None and chunk < 1:
            raise UsageError(f"chunk={chunk} must be at least 1 token")
        self.model, self.ids_BL, self.mode = model, ids_BL.to(model.device), mode
        self.state = cache(model, len(ids_BL), mode)
        self.seen: list[LayerInput] = []
        logits = None
        for part_BL in self.ids_BL.split(chunk or ids_BL.shape[1], dim=1):
            now: list[LayerInput] = []
            logits = self.state.feed(part_BL, logits_to_keep=1, record=now)
            self.seen = [a.then(b) for a, b in zip(self.seen, now, strict=True)] if self.seen else now
        assert logits is not None
        self.logits_BV = logits[:, -1]

    @property
    def length(self) -> int:
        """Tokens of the context."""
        return self.ids_BL.shape[1]

    def full(self) -> PositionedCache:
        """A copy of the uncompressed cache."""
        return self.state.clone()

    def compressed(self, press: Any, tokens: int) -> PositionedCache:
        """A copy of the cache in which a press has chosen ``tokens`` slots a layer.

        Args:
            press: a fresh instance of a kvpress press.
            tokens: how many slots stay in each layer; all of them leaves the cache untouched, bit for bit.

        Raises:
            PressFailed: the press cannot be applied; the message is its own reason.
        """
        if has_hooks(press) and tokens < self.length:
            return self._through_hooks(press, tokens)
        state = self.full()
        with prepared(press, self.model):
            evict(state, self.seen, press, tokens)
        return state

    def _through_hooks(self, press: Any, tokens: int) -> PositionedCache:
        if len(self.ids_BL) > 1 or self.mode != "original":
            raise PressFailed(
                f"{type(press).__name__} works through hooks of its own: one row, original positions only"
            )
        if not hasattr(getattr(self.model, "model", None), "layers"):
            raise PressFailed(f"{type(press).__name__} hooks into model.layers, which this model does not have")
        set_ratio(press, ratio_for(tokens, self.length))
        state = type(self.state)(self.model, 1, self.mode)
        with prepared(press, self.model), reasons(press):
            with press(self.model):
                state.feed(self.ids_BL, logits_to_keep=1)
            for layer, old_BHK in enumerate(self.state.positions):
                old_keys, _ = self.state.keys_values(layer)
                keys, values = state.keys_values(layer)
                store_kept(state, layer, old_keys, old_BHK, keys, values, press)
        return state


@torch.inference_mode()
def prefill_compressed(model: Any, ids_BL: Tensor, press: Any, tokens: int | None) -> tuple[PositionedCache, Tensor]:
    """The compressed cache of a context and its last logits, prefilled for this press alone, as it is timed.

    Args:
        model: a causal model.
        ids_BL: the context.
        press: a fresh press, or None.
        tokens: how many slots stay in each layer; None for all.

    Returns:
        the cache and logits_BV of the last context token.
    """
    state = PositionedCache(model, len(ids_BL))
    if press is None or tokens is None or tokens >= ids_BL.shape[1]:
        return state, state.feed(ids_BL, logits_to_keep=1)[:, -1]
    if has_hooks(press):
        raise PressFailed(f"{type(press).__name__} works through hooks of its own and is not timed")
    seen: list[LayerInput] = []
    logits = state.feed(ids_BL, logits_to_keep=1, record=seen)[:, -1]
    with prepared(press, model):
        evict(state, seen, press, tokens)
    return state, logits
