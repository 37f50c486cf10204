"""Applying a press to a cache: which slots stay, with their true positions.

A press that scores tokens is asked for its scores and the best stay, sorted by position: the order of storage has no
effect on attention, but presses that protect "the first" or "the last" slots mean the first and last *tokens*. A press
with its own way of compressing is run as it is; which tokens stayed is then found by looking its keys up among the
old ones. kvpress' prefill hook is not used: it takes the first chunk of a chunked prefill for the whole text, and
knows no budget in tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.random import hashed
from unmask.kvcache.budget import ratio_for
from unmask.kvcache.layers import LayerInput
from unmask.kvcache.model import rotary_module
from unmask.kvcache.positions import PositionedCache

#: what presses raise where they do not fit: assertions, missing attributes, versions that they were not written for
_THEIR_FAILURES = (
    AssertionError,
    AttributeError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class PressFailed(UsageError):
    """A press cannot be applied to this model or text; the message is the press' own reason."""


@torch.inference_mode()
def evict(state: PositionedCache, seen: list[LayerInput], press: Any, tokens: int | list[int]) -> None:
    """Compress every layer of a cache by a press (in place).

    Args:
        state: the cache.
        seen: what each layer was given in the last forward (:meth:`PositionedCache.feed` records it).
        press: a kvpress press, an instance that is used for this cache only.
        tokens: how many slots stay in each layer, or one number a layer. A layer that holds no more is left untouched.

    Raises:
        PressFailed: the press refuses, or changes keys so that their positions cannot be told.
    """
    for layer, seen_here in enumerate(seen):
        wanted = tokens if isinstance(tokens, int) else tokens[layer]
        own = layer_press(press, layer)
        if own is not None and wanted < state.positions[layer].shape[-1]:
            _evict_layer(state, layer, seen_here, own, wanted)
    with reasons(press):
        state.close_up()


def layer_press(press: Any, layer: int) -> Any:
    """The press that acts on a layer: itself, or what a wrapper by layer hands out (None leaves the layer full)."""
    return press.for_layer(layer) if hasattr(press, "for_layer") else press


@contextlib.contextmanager
def prepared(press: Any, model: Any) -> Iterator[None]:
    """What kvpress does before a press meets a model: its settings from the model, and the rotary module at hand."""
    attention: list[Any] = [m for m in model.modules() if hasattr(m, "layer_idx")]
    rotary = rotary_module(model)
    for module in attention:
        if rotary is not None:
            # past nn.Module's registration: the module must not become a child and end up in the state dict
            object.__setattr__(module, "rotary_emb", rotary)
    try:
        with reasons(press):
            press.post_init_from_model(model)
        yield
    finally:
        for module in attention:
            module.__dict__.pop("rotary_emb", None)
            if getattr(module, "masked_key_indices", None) is not None:
                module.masked_key_indices = None


def _evict_layer(state: PositionedCache, layer: int, seen: LayerInput, press: Any, tokens: int) -> None:
    from kvpress import KeyRerotationPress, ScorerPress

    module = state.attention[layer]
    keys, values = state.keys_values(layer)
    pos_BHK = state.positions[layer]
    kwargs = {**seen.kwargs, "hidden_states": seen.hidden_BLD, "past_key_values": state.cache}
    kwargs["true_positions"] = pos_BHK
    set_ratio(press, ratio_for(tokens, keys.shape[2]))
    if isinstance(press, ScorerPress) and type(press).compress is ScorerPress.compress:
        with reasons(press):
            scores_BHK = press.score(module, seen.hidden_BLD, keys, values, seen.attentions, kwargs)
        scores_BHK = scores_BHK.masked_fill(pos_BHK < 0, -torch.inf)  # padding is never worth keeping
        state.select(layer, scores_BHK.topk(tokens, dim=-1).indices.sort(-1).values)
        return
    # copies: some presses write into what they are given, and other caches share it
    given = (keys.clone(), values.clone())
    with reasons(press):
        new_keys, new_values = press.compress(module, seen.hidden_BLD, *given, seen.attentions, kwargs)
    if isinstance(press, KeyRerotationPress):
        count = new_keys.shape[2]
        state.store(
            layer, new_keys, new_values, torch.arange(count, device=keys.device).expand(*new_keys.shape[:2], -1)
        )
        state.next_B = torch.full_like(state.next_B, count)
        return
    store_kept(state, layer, keys, pos_BHK, new_keys, new_values, press)


def store_kept(
    state: PositionedCache,
    layer: int,
    old_keys: Tensor,
    old_BHK: Tensor,
    new_keys: Tensor,
    new_values: Tensor,
    press: Any,
) -> None:
    """Store what a press left of a layer, with the true positions of what it left, in their order."""
    slots_BHN = _where(old_keys, new_keys, press)
    kept_BHN = old_BHK.gather(2, slots_BHN)
    module: Any = state.attention[layer]
    masked = getattr(module, "masked_key_indices", None)
    if masked is not None:
        # head-wise methods keep every slot and hide some: hidden here by position, so that nothing stays on the module
        kept_BHN = kept_BHN.clone()
        kept_BHN[masked] = -1
        module.masked_key_indices = None
    state.store(layer, new_keys, new_values, kept_BHN)
    if new_keys.shape[2] < old_keys.shape[2]:
        state.select(layer, kept_BHN.sort(-1).indices)


def set_ratio(press: Any, ratio: float) -> None:
    """Set a press' ratio; those whose ratio follows from other settings (ThinK, SimLayerKV) refuse, and keep them."""
    with contextlib.suppress(AttributeError):
        press.compression_ratio = ratio


def _where(old_BHKD: Tensor, new_BHND: Tensor, press: Any) -> Tensor:
    """The old slot of each new key [B, H, N]."""
    slots, count = old_BHKD.shape[2], new_BHND.shape[2]
    if count == slots:
        return torch.arange(slots, device=old_BHKD.device).expand(*new_BHND.shape[:2], -1)
    old_BHK, new_BHN = _fingerprint(old_BHKD), _fingerprint(new_BHND)
    sorted_BHK, order_BHK = old_BHK.sort(-1)
    found_BHN = order_BHK.gather(2, torch.searchsorted(sorted_BHK, new_BHN.contiguous()).clamp_(max=slots - 1))
    at = found_BHN.unsqueeze(-1).expand(-1, -1, -1, old_BHKD.shape[-1])
    if not torch.equal(old_BHKD.gather(2, at), new_BHND):
        raise PressFailed(
            f"{type(press).__name__} changes the keys it keeps, so their true positions cannot be told: not measured"
        )
    return found_BHN


def _fingerprint(keys_BHKD: Tensor) -> Tensor:
    """An int64 of each key's bits [B, H, K]: exact, where a sum of floats would depend on how many were summed."""
    whole = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[keys_BHKD.element_size()]
    bits_BHKD = keys_BHKD.contiguous().view(whole).long()
    names_D = torch.arange(bits_BHKD.shape[-1], device=keys_BHKD.device)
    return (bits_BHKD * (hashed(0, names_D) | 1)).sum(-1)


@contextlib.contextmanager
def reasons(press: Any) -> Iterator[None]:
    """A context in which a press' failure becomes :class:`PressFailed` with one sentence, so that the table goes on."""
    try:
        yield
    except PressFailed:
        raise
    except _THEIR_FAILURES as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise PressFailed(f"{type(press).__name__} cannot be applied here: {reason}") from error


def has_hooks(press: Any) -> bool:
    """Whether a press works through hooks of its own, so that it has to run inside the prefill."""
    from kvpress.presses.base_press import BasePress

    kind = type(press)
    return kind.forward_hook is not BasePress.forward_hook or kind.__call__ is not BasePress.__call__
