"""True positions in one place: a cache that knows where each of its keys came from, and which token comes next.

A rotary key carries its position inside it, so a compressed cache may store its keys in any order; but the *next* token
must be given the position it has in the text, not the length of what is left. transformers derives positions from the
cache's length when none are given, which is wrong as soon as one token was evicted, and so are the causal and sliding
masks it builds. Every forward over a cache therefore goes through :meth:`PositionedCache.feed`, which makes positions
and masks from what is really stored.

Shapes: B rows, L new tokens, H key-value heads, K slots of a layer, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from unmask.core.errors import UsageError
from unmask.kvcache.layers import LayerInput, hooked
from unmask.kvcache.model import attention_modules, kv_heads, rotary_module, windows
from unmask.kvcache.rotation import rotate

#: where the tokens of a compressed cache are: at their places in the text, or closed up to 0, 1, 2, ...
MODES = ("original", "cache")


class PositionedCache:
    """A cache with the true position of every key and of the next token.

    Args:
        model: a causal model that :func:`unmask.kvcache.model.require_kv_cache` accepts.
        batch: B.
        mode: ``original``, or ``cache``: after an eviction the keys that stay are re-rotated to 0, 1, 2, ... and the
            next token follows them (StreamingLLM, arXiv 2309.17453). Needs rotary positions.
        cache: an empty transformers cache; a ``DynamicCache`` when None.

    Attributes:
        next_B: the position of the next token of each row.
        positions: for each layer int64 [B, H, K]; -1 where a slot holds no token (padding) or a masked one.
    """

    def __init__(self, model: Any, batch: int, mode: str = "original", cache: Any = None) -> None:
        from transformers import DynamicCache

        if mode not in MODES:
            raise UsageError(f"positions={mode!r} must be one of {', '.join(MODES)}")
        if mode == "cache" and rotary_module(model) is None:
            raise UsageError(
                f"{type(model).__name__} has no rotary positions, so its keys cannot be moved: use 'original'"
            )
        self.model, self.mode = model, mode
        self.cache = DynamicCache() if cache is None else cache
        self.attention, self.windows = attention_modules(model), windows(model)
        self.next_B = torch.zeros(batch, dtype=torch.long, device=model.device)
        self.positions = [
            torch.empty(batch, kv_heads(m), 0, dtype=torch.long, device=model.device) for m in self.attention
        ]
        self._gaps = [False] * len(self.attention)  # whether a layer has slots without a token

    # ---- running the model

    @torch.inference_mode()
    def feed(
        self,
        ids_BL: Tensor,
        *,
        position_ids: Tensor | None = None,
        logits_to_keep: int = 0,
        record: list[LayerInput] | None = None,
    ) -> Tensor:
        """Run new tokens over the cache and append them to it.

        Args:
            ids_BL: the next tokens of each row; all rows have the same number, none is padding.
            position_ids: only to confirm: anything but the true positions is refused.
            logits_to_keep: logits for this many last tokens; 0 for all.
            record: filled with what each attention layer was given.

        Returns:
            logits_BLV.

        Raises:
            UsageError: ``position_ids`` are not the true ones, or the model has no position left.
        """
        pos_BL = self._next(ids_BL.shape[1])
        if position_ids is not None and not torch.equal(position_ids.to(pos_BL).expand_as(pos_BL), pos_BL):
            raise UsageError(
                f"position_ids start at {int(position_ids.flatten()[0])}, but the next token's true position is "
                f"{int(pos_BL[0, 0])}: the cache lost tokens, its length is not a position"
            )
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if limit is not None and int(pos_BL.max()) >= limit and self._absolute:
            raise UsageError(f"position {int(pos_BL.max())} is beyond the {limit} that the model has learned")
        masks = self._masks(pos_BL)
        with hooked(self.attention, masks, record):
            out = self.model(
                input_ids=ids_BL,
                position_ids=pos_BL,
                attention_mask=None if masks is None else masks[0],
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=logits_to_keep,
            )
        for i, old_BHK in enumerate(self.positions):
            new_BHL = pos_BL[:, None].expand(-1, old_BHK.shape[1], -1)
            self.positions[i] = torch.cat([old_BHK, new_BHL], dim=-1)
        self.next_B = pos_BL[:, -1] + 1
        self._retire()
        return out.logits

    def _next(self, length: int) -> Tensor:
        """True positions [B, L] of the next ``length`` tokens."""
        return self.next_B[:, None] + torch.arange(length, device=self.next_B.device)

    @property
    def _absolute(self) -> bool:
        return rotary_module(self.model) is None

    def _masks(self, pos_BL: Tensor) -> list[Tensor] | None:
        """What each layer's new tokens may see, or None where the model's own mask is right (and faster)."""
        if self.positions[0].shape[-1] == 0:
            return None  # nothing stored: slots and positions are the same
        length = pos_BL.shape[1]
        plain = not any(self.windows) and not any(self._gaps)
        if plain and length == 1:
            return None  # one new token sees every slot
        made: dict[tuple[int, int | None], Tensor] = {}
        masks = []
        for i, old_BHK in enumerate(self.positions):
            key = (old_BHK.shape[-1], self.windows[i]) if plain else (i, -1)
            if key not in made:
                made[key] = self._mask(old_BHK[:1, :1] if plain else old_BHK, pos_BL[:1] if plain else pos_BL, i)
            masks.append(made[key])
        return masks

    def _mask(self, old_BHK: Tensor, pos_BL: Tensor, layer: int) -> Tensor:
        key_BHS = torch.cat([old_BHK, pos_BL[:, None].expand(-1, old_BHK.shape[1], -1)], dim=-1)
        query_B1L1 = pos_BL[:, None, :, None]
        see_BHLS = (key_BHS[:, :, None] >= 0) & (key_BHS[:, :, None] <= query_B1L1)
        window = self.windows[layer]
        if window is not None:
            see_BHLS &= query_B1L1 - key_BHS[:, :, None] < window
        if see_BHLS.shape[1] > 1:
            config = self.model.config
            groups = getattr(config, "num_attention_heads", see_BHLS.shape[1]) // see_BHLS.shape[1]
            see_BHLS = see_BHLS.repeat_interleave(groups, dim=1)
        if self.model.config._attn_implementation == "eager":
            dtype = self.model.dtype
            return torch.zeros_like(see_BHLS, dtype=dtype).masked_fill_(~see_BHLS, torch.finfo(dtype).min)
        return see_BHLS

    def _retire(self) -> None:
        """Drop keys that a sliding window has left behind for good, as transformers' own sliding cache does."""
        for i, window in enumerate(self.windows):
            if window is None:
                continue
            pos_BHK = self.positions[i]
            reach_BHK = (pos_BHK >= 0) & (self.next_B[:, None, None] - pos_BHK < window)
            stay = int(reach_BHK.sum(-1).max())
            if stay < pos_BHK.shape[-1]:
                # the newest `stay` slots of each head, in the order in which they lie
                self.select(i, pos_BHK.topk(stay, dim=-1).indices.sort(-1).values)

    # ---- changing what is stored

    def keys_values(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values [B, H, K, D] of a layer as the attention sees them (dequantised)."""
        stored = self.cache.layers[layer]
        if not hasattr(stored, "_quantized_keys"):
            return stored.keys, stored.values
        keys, values = stored._dequantize(stored._quantized_keys), stored._dequantize(stored._quantized_values)
        if stored.keys.ndim == 4:  # the newest tokens wait in full precision
            keys, values = torch.cat([keys, stored.keys], dim=-2), torch.cat([values, stored.values], dim=-2)
        return keys, values

    def store(self, layer: int, keys: Tensor, values: Tensor, positions_BHK: Tensor) -> None:
        """Replace a layer's content."""
        stored = self.cache.layers[layer]
        if hasattr(stored, "_quantized_keys"):
            stored._quantized_keys = stored._quantize(keys.contiguous(), axis=stored.axis_key)
            stored._quantized_values = stored._quantize(values.contiguous(), axis=stored.axis_value)
            stored.keys, stored.values = keys.new_zeros(0), values.new_zeros(0)
            stored.cumulative_length = keys.shape[-2]
        else:
            stored.keys, stored.values = keys, values
        self.positions[layer] = positions_BHK
        self._gaps[layer] = bool((positions_BHK < 0).any())

    def select(self, layer: int, slots_BHN: Tensor) -> None:
        """Keep these slots of a layer, in this order."""
        keys, values = self.keys_values(layer)
        at = slots_BHN.unsqueeze(-1)
        self.store(
            layer,
            keys.gather(2, at.expand(-1, -1, -1, keys.shape[-1])),
            values.gather(2, at.expand(-1, -1, -1, values.shape[-1])),
            self.positions[layer].gather(2, slots_BHN),
        )

    def close_up(self) -> None:
        """In mode ``cache``: move the keys that stayed to 0, 1, 2, ...; the next token follows them."""
        if self.mode != "cache":
            return
        counts = {int(n) for pos_BHK in self.positions for n in (pos_BHK >= 0).sum(-1).flatten()}
        if len(counts) != 1:
            raise UsageError(
                f"layers or heads hold {min(counts)} to {max(counts)} tokens: cache-relative positions need the same "
                "number everywhere, use positions='original'"
            )
        for i, pos_BHK in enumerate(self.positions):
            slots_BHK = pos_BHK.sort(-1).indices
            self.select(i, slots_BHK)
            old_BHK = self.positions[i]
            new_BHK = torch.where(old_BHK >= 0, (old_BHK >= 0).cumsum(-1) - 1, -1)
            keys, values = self.keys_values(i)
            moved = rotate(self.model, keys, torch.where(old_BHK >= 0, new_BHK - old_BHK, 0))
            self.store(i, moved, values, new_BHK)
        self.next_B = torch.full_like(self.next_B, counts.pop())

    def clone(self) -> PositionedCache:
        """A cache with the same content that can be fed on its own (feeding never writes into stored tensors)."""
        twin = copy.copy(self)
        twin.cache = copy.copy(self.cache)
        twin.cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        twin.positions, twin.next_B, twin._gaps = list(self.positions), self.next_B.clone(), list(self._gaps)
        return twin

    @staticmethod
    def join(rows: list[PositionedCache]) -> PositionedCache:
        """One batch of caches that were filled and compressed one by one; shorter ones are padded in front.

        Rows of different lengths are never prefilled together: a press that averages over tokens (KeyDiff, SnapKV)
        would average over padding, and a fraction of a padded length is no fraction of the text.
        """
        first = rows[0]
        joined = first.clone()
        joined.next_B = torch.cat([r.next_B for r in rows])
        for i in range(len(first.positions)):
            slots = max(r.positions[i].shape[-1] for r in rows)
            padded = []
            for row in rows:
                keys, values = row.keys_values(i)
                gap = slots - keys.shape[-2]
                padded.append(
                    (
                        nn.functional.pad(keys, (0, 0, gap, 0)),
                        nn.functional.pad(values, (0, 0, gap, 0)),
                        nn.functional.pad(row.positions[i], (gap, 0), value=-1),
                    )
                )
            keys, values, positions = (torch.cat(parts) for parts in zip(*padded, strict=True))
            joined.store(i, keys, values, positions)
        return joined

    # ---- what is really there

    def lengths(self) -> list[tuple[int, int]]:
        """For each layer the least and most tokens that a head can see."""
        counts = [(pos_BHK >= 0).sum(-1) for pos_BHK in self.positions]
        return [(int(c.min()), int(c.max())) for c in counts]

    def slots(self) -> list[int]:
        """For each layer the slots that are stored, seen or not."""
        return [pos_BHK.shape[-1] for pos_BHK in self.positions]

    def bytes(self) -> int:
        """Memory that the cache's tensors occupy, measured at their storages."""
        seen: dict[int, int] = {}
        for layer in self.cache.layers:
            for name in ("keys", "values", "_quantized_keys", "_quantized_values"):
                for part in _plain_tensors(getattr(layer, name, None)):
                    storage = part.untyped_storage()
                    seen[storage.data_ptr()] = storage.nbytes()
        return sum(seen.values())


def _plain_tensors(value: Any) -> Iterator[Tensor]:
    """The tensors inside a value: itself, or the parts of a quantised one."""
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _plain_tensors(part)
    elif isinstance(value, dict):
        yield from _plain_tensors(list(value.values()))
    elif hasattr(value, "__tensor_flatten__") and type(value) is not Tensor:
        for name in value.__tensor_flatten__()[0]:
            yield from _plain_tensors(getattr(value, name))
    elif isinstance(value, Tensor):
        yield value
