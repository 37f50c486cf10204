"""LLaDA (arXiv 2502.09992): a Llama-like body without a causal mask, under the parameter names of the public weights.

The weights of GSAI-ML/LLaDA-8B-Base, -Instruct and LLaDA-1.5 load as they are; no code from a hub runs.
Shapes: B batch, L length, N gathered rows, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from unmask.core.condition import Condition
from unmask.core.denoiser import Body, Denoiser
from unmask.core.errors import CheckpointError
from unmask.models.adapters.attention import fill, grouped_attention, padding_bias, setting
from unmask.models.bidirectional_cache import BidirectionalKVCache
from unmask.models.layers import rotary

#: settings of the public configuration for which this body is right, with the configuration's own defaults
ONLY = {
    "block_type": ("llama", "sequential"),
    "activation_type": ("silu", "swiglu"),
    "layer_norm_type": ("rms", "default"),
    "rope": (True, False),
    "alibi": (False, False),
    "attention_layer_norm": (False, False),
    "include_bias": (False, False),
    "bias_for_layer_norm": (False, None),
    "input_emb_norm": (False, False),
    "block_group_size": (1, 1),
}


@dataclass(frozen=True)
class LladaConfig:
    """What the body needs of a LLaDA config.json, under the same names."""

    d_model: int
    n_heads: int
    n_kv_heads: int
    n_layers: int
    mlp_hidden_size: int
    embedding_size: int
    mask_token_id: int
    eos_token_id: int | None
    pad_token_id: int | None
    max_sequence_length: int
    rope_theta: float
    rms_norm_eps: float
    weight_tying: bool
    include_qkv_bias: bool
    scale_logits: bool

    @classmethod
    def read(cls, raw: dict[str, Any], folder: Path) -> LladaConfig:
        """From the tree of a config.json.

        Raises:
            CheckpointError: a setting that this body does not implement, or one that is missing.
        """
        for name, (right, default) in ONLY.items():
            value = raw.get(name, default)
            if value != right and not (name == "bias_for_layer_norm" and value is None):
                raise CheckpointError(
                    f"config.json in {str(folder)!r} has {name}={value!r}; LLaDA is supported with {name}={right!r}"
                )
        d_model, n_heads = setting(raw, "d_model", folder), setting(raw, "n_heads", folder)
        vocab = setting(raw, "vocab_size", folder)
        kv = 1 if raw.get("multi_query_attention") else (raw.get("n_kv_heads") or n_heads)
        if d_model % n_heads or n_heads % kv or (d_model // n_heads) % 2:
            raise CheckpointError(f"d_model={d_model}, n_heads={n_heads} and n_kv_heads={kv} do not divide evenly")
        return cls(
            d_model=d_model,
            n_heads=n_heads,
            n_kv_heads=kv,
            n_layers=setting(raw, "n_layers", folder),
            mlp_hidden_size=raw.get("mlp_hidden_size") or raw.get("mlp_ratio", 4) * d_model,
            embedding_size=raw.get("embedding_size") or vocab,
            mask_token_id=setting(raw, "mask_token_id", folder),
            eos_token_id=raw.get("eos_token_id"),
            pad_token_id=raw.get("pad_token_id"),
            max_sequence_length=raw.get("max_sequence_length", 1024),
            rope_theta=raw.get("rope_theta", 10_000.0),
            rms_norm_eps=raw.get("rms_norm_eps", 1e-5),
            weight_tying=raw.get("weight_tying", True),
            include_qkv_bias=bool(raw.get("include_qkv_bias", False)),
            scale_logits=raw.get("scale_logits", False),
        )


class LladaBlock(nn.Module):
    """Pre-norm attention and SwiGLU; parameter names as published."""

    def __init__(self, c: LladaConfig) -> None:
        super().__init__()
        self.heads, self.key_heads = c.n_heads, c.n_kv_heads
        keys = c.d_model // c.n_heads * c.n_kv_heads
        self.attn_norm = nn.RMSNorm(c.d_model, eps=c.rms_norm_eps)
        self.ff_norm = nn.RMSNorm(c.d_model, eps=c.rms_norm_eps)
        self.q_proj = nn.Linear(c.d_model, c.d_model, bias=c.include_qkv_bias)
        self.k_proj = nn.Linear(c.d_model, keys, bias=c.include_qkv_bias)
        self.v_proj = nn.Linear(c.d_model, keys, bias=c.include_qkv_bias)
        self.attn_out = nn.Linear(c.d_model, c.d_model, bias=False)
        self.ff_proj = nn.Linear(c.d_model, c.mlp_hidden_size, bias=False)
        self.up_proj = nn.Linear(c.d_model, c.mlp_hidden_size, bias=False)
        self.ff_out = nn.Linear(c.mlp_hidden_size, c.d_model, bias=False)

    def forward(
        self,
        x_BLD: Tensor,
        turn: tuple[Tensor, Tensor],
        bias: Tensor | None,
        memory: BidirectionalKVCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        y = self.attn_norm(x_BLD)
        q, k, v = self.q_proj(y), self.k_proj(y), self.v_proj(y)
        y = grouped_attention(q, k, v, self.heads, self.key_heads, turn, bias, memory, layer)
        x_BLD = x_BLD + self.attn_out(y)
        y = self.ff_norm(x_BLD)
        return x_BLD + self.ff_out(silu(self.ff_proj(y)) * self.up_proj(y))  # type: ignore[no-any-return]


class LladaDenoiser(nn.Module, Denoiser):
    """LLaDA's logits: position i answers for token i; the clock is not used."""

    can_cache = True

    def __init__(self, config: LladaConfig) -> None:
        super().__init__()
        c = self.config = config
        parts: dict[str, nn.Module] = {
            "wte": nn.Embedding(c.embedding_size, c.d_model),
            "ln_f": nn.RMSNorm(c.d_model, eps=c.rms_norm_eps),
            "blocks": nn.ModuleList(LladaBlock(c) for _ in range(c.n_layers)),
        }
        if not c.weight_tying:
            parts["ff_out"] = nn.Linear(c.d_model, c.embedding_size, bias=False)
        # the published names begin with model.transformer
        self.model = nn.ModuleDict({"transformer": nn.ModuleDict(parts)})
        self.vocab_size, self.mask_id = c.embedding_size, c.mask_token_id
        self.eos_id, self.pad_id, self.max_length = c.eos_token_id, c.pad_token_id, c.max_sequence_length

    @property
    def _parts(self) -> nn.ModuleDict:
        return self.model["transformer"]  # type: ignore[return-value]

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        return Body(self._states(x_BL, valid_BL))

    def cached_body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        at_BL: Tensor | None = None,
        memory: BidirectionalKVCache | None = None,
    ) -> tuple[Tensor, BidirectionalKVCache]:
        """See :func:`unmask.decoding.cache.can_cache`."""
        memory = BidirectionalKVCache.start(memory, at_BL)
        return memory.finish(self._states(x_BL, valid_BL, memory)), memory

    def _states(self, x_BL: Tensor, valid_BL: Tensor | None, memory: BidirectionalKVCache | None = None) -> Tensor:
        c, parts = self.config, self._parts
        turn = rotary(x_BL.shape[1], c.d_model // c.n_heads, x_BL.device, c.rope_theta)
        if memory is not None:
            x_BL, turn = memory.only(x_BL, turn)
        x = parts["wte"](x_BL)
        bias = padding_bias(valid_BL, x.dtype)
        for layer, block in enumerate(parts["blocks"]):  # type: ignore[arg-type]
            x = block(x, turn, bias, memory, layer)
        return parts["ln_f"](x)  # type: ignore[no-any-return]

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        c = self.config
        weight_VD: Any = self._parts["wte" if c.weight_tying else "ff_out"].weight
        return (h_ND * c.d_model**-0.5 if c.scale_logits else h_ND), weight_VD, None


def load(folder: Path, raw: dict[str, Any], dtype: torch.dtype | None) -> LladaDenoiser:
    """The denoiser of a LLaDA folder.

    Raises:
        CheckpointError: an unsupported setting, or weights that do not fit.
    """
    config = LladaConfig.read(raw, folder)
    return fill(lambda: LladaDenoiser(config), folder, dtype)
