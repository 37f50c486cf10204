"""What has to be known of a causal model before its cache may be touched: its attention layers and their windows."""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from unmask.core.errors import UsageError

#: attention implementations that take a mask for each layer and head
MASKED_ATTENTION = ("sdpa", "eager")


class CausalModelProtocol(Protocol):
    """A causal model with its tokenizer, as :func:`unmask.models.causal.load_causal` gives it."""

    model: Any
    tokenizer: Any
    name: str
    identity: str

    def encode(self, text: str, start: bool = True) -> Tensor: ...


def attention_modules(model: Any) -> list[nn.Module]:
    """The attention layer of each cache layer, in order."""
    found: dict[int, nn.Module] = {}
    for module in model.modules():
        index = getattr(module, "layer_idx", None)
        if isinstance(index, int) and "Attention" in type(module).__name__:
            found.setdefault(index, module)
    return [found[i] for i in sorted(found)]


def windows(model: Any) -> list[int | None]:
    """Each layer's sliding window in tokens (a query sees keys nearer than this), None for full attention."""
    from transformers import DynamicCache

    layers = DynamicCache(config=model.config).layers
    return [getattr(layer, "sliding_window", None) for layer in layers] or [None] * len(attention_modules(model))


def rotary_module(model: Any) -> nn.Module | None:
    """The module that makes the rotary angles, or None for models with other positions."""
    return next((m for m in model.modules() if hasattr(m, "inv_freq") and hasattr(m, "forward")), None)


def kv_heads(module: nn.Module) -> int:
    """Key-value heads of an attention layer: fewer than the query heads under GQA."""
    config: Any = getattr(module, "config", None)
    for name in ("num_key_value_heads", "num_attention_heads", "n_head"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    raise UsageError(f"{type(module).__name__} does not tell how many key-value heads it has")


@torch.inference_mode()
def require_kv_cache(model: Any) -> None:
    """Refuse models whose memory is not a cache of keys and values, one entry a token.

    Raises:
        UsageError: encoder-decoders, state-space, hybrid models, chunked attention, attention implementations that do
            not take a mask of their own.
    """
    from transformers import DynamicCache

    kind = type(model).__name__
    config = model.config
    if config.is_encoder_decoder:
        raise UsageError(f"{kind} is an encoder-decoder: KV compression is measured on decoder-only causal models")
    if getattr(config, "attention_chunk_size", None):
        raise UsageError(f"{kind} attends in chunks: masks of kept tokens are not defined for it here")
    if config._attn_implementation not in MASKED_ATTENTION:
        raise UsageError(
            f"{kind} was loaded with attention {config._attn_implementation!r}: load it with 'sdpa' or 'eager', "
            "the others take no mask by layer and head"
        )
    refusal = f"{kind} keeps a state that is not a cache of keys and values (a state-space or hybrid model)"
    attention = attention_modules(model)
    if getattr(model, "_is_stateful", False) or not attention:
        raise UsageError(f"{refusal}: there is nothing to compress, choose a model with attention in every layer")
    if "position_ids" not in inspect.signature(model.forward).parameters:
        raise UsageError(f"{kind} takes no position_ids, so its cache cannot be given true positions")
    cache = DynamicCache()
    try:
        model(torch.zeros(1, 2, dtype=torch.long, device=model.device), past_key_values=cache, use_cache=True)
    except (TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"{refusal}: {str(error).splitlines()[0]}") from error
    lengths = [int(layer.keys.shape[-2]) if layer.keys is not None else 0 for layer in cache.layers]
    if len(lengths) != len(attention) or any(n != 2 for n in lengths):
        raise UsageError(
            f"{refusal}: after 2 tokens {len(attention)} attention layers hold "
            f"{lengths[:4]} keys, where 2 in each were expected"
        )
