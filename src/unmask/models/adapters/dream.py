"""Dream (arXiv 2508.15487): Qwen2's body without a causal mask, its logits SHIFTED by one.

Dream was made from a causal model and kept its habit: the row at position i predicts token i + 1. The contract wants
the row at i to predict token i, so the body hands each position its predecessor's state.
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


@dataclass(frozen=True)
class DreamConfig:
    """What the body needs of a Dream config.json, under the same names."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_theta: float
    tie_word_embeddings: bool
    mask_token_id: int
    eos_token_id: int | None
    pad_token_id: int | None

    @classmethod
    def read(cls, raw: dict[str, Any], folder: Path) -> DreamConfig:
        """From the tree of a config.json.

        Raises:
            CheckpointError: a setting that this body does not implement, or one that is missing.
        """
        for name, right in (("hidden_act", "silu"), ("rope_scaling", None), ("use_sliding_window", False)):
            value = raw.get(name, right)
            if value != right:
                raise CheckpointError(
                    f"config.json in {str(folder)!r} has {name}={value!r}; Dream is supported with {name}={right!r}"
                )
        width, heads = setting(raw, "hidden_size", folder), setting(raw, "num_attention_heads", folder)
        keys = raw.get("num_key_value_heads") or heads
        if width % heads or heads % keys or (width // heads) % 2:
            raise CheckpointError(
                f"hidden_size={width}, num_attention_heads={heads} and num_key_value_heads={keys} do not divide evenly"
            )
        return cls(
            vocab_size=setting(raw, "vocab_size", folder),
            hidden_size=width,
            intermediate_size=setting(raw, "intermediate_size", folder),
            num_hidden_layers=setting(raw, "num_hidden_layers", folder),
            num_attention_heads=heads,
            num_key_value_heads=keys,
            max_position_embeddings=raw.get("max_position_embeddings", 32_768),
            rms_norm_eps=raw.get("rms_norm_eps", 1e-6),
            rope_theta=raw.get("rope_theta", 10_000.0),
            tie_word_embeddings=raw.get("tie_word_embeddings", False),
            mask_token_id=setting(raw, "mask_token_id", folder),
            eos_token_id=raw.get("eos_token_id"),
            pad_token_id=raw.get("pad_token_id"),
        )


class DreamAttention(nn.Module):
    """Grouped attention with biased queries, keys and values."""

    def __init__(self, c: DreamConfig) -> None:
        super().__init__()
        self.heads, self.key_heads = c.num_attention_heads, c.num_key_value_heads
        keys = c.hidden_size // c.num_attention_heads * c.num_key_value_heads
        self.q_proj = nn.Linear(c.hidden_size, c.hidden_size)
        self.k_proj = nn.Linear(c.hidden_size, keys)
        self.v_proj = nn.Linear(c.hidden_size, keys)
        self.o_proj = nn.Linear(c.hidden_size, c.hidden_size, bias=False)

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        bias: Tensor | None,
        memory: BidirectionalKVCache | None,
        layer: int,
    ) -> Tensor:
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        return self.o_proj(grouped_attention(q, k, v, self.heads, self.key_heads, turn, bias, memory, layer))  # type: ignore[no-any-return]


class DreamMlp(nn.Module):
    """SwiGLU."""

    def __init__(self, c: DreamConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]


class DreamBlock(nn.Module):
    """Pre-norm attention and SwiGLU; parameter names as published."""

    def __init__(self, c: DreamConfig) -> None:
        super().__init__()
        self.self_attn, self.mlp = DreamAttention(c), DreamMlp(c)
        self.input_layernorm = nn.RMSNorm(c.hidden_size, eps=c.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(c.hidden_size, eps=c.rms_norm_eps)

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        bias: Tensor | None,
        memory: BidirectionalKVCache | None,
        layer: int,
    ) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), turn, bias, memory, layer)
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return]


class DreamDenoiser(nn.Module, Denoiser):
    """Dream's logits, moved so that position i answers for token i; the clock is not used."""

    can_cache = True

    def __init__(self, config: DreamConfig) -> None:
        super().__init__()
        c = self.config = config
        self.model = nn.ModuleDict(
            {
                "embed_tokens": nn.Embedding(c.vocab_size, c.hidden_size),
                "layers": nn.ModuleList(DreamBlock(c) for _ in range(c.num_hidden_layers)),
                "norm": nn.RMSNorm(c.hidden_size, eps=c.rms_norm_eps),
            }
        )
        self.lm_head = None if c.tie_word_embeddings else nn.Linear(c.hidden_size, c.vocab_size, bias=False)
        self.vocab_size, self.mask_id, self.max_length = c.vocab_size, c.mask_token_id, c.max_position_embeddings
        self.eos_id, self.pad_id = c.eos_token_id, c.pad_token_id

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        return Body(_shifted(self._states(x_BL, valid_BL), valid_BL))

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
        """See :func:`unmask.decoding.cache.can_cache`; the predecessors, which answer, are run as well."""
        if at_BL is not None:
            at_BL = at_BL | torch.cat([at_BL[:, 1:], torch.zeros_like(at_BL[:, :1])], dim=1)
        memory = BidirectionalKVCache.start(memory, at_BL)
        return _shifted(memory.finish(self._states(x_BL, valid_BL, memory)), valid_BL), memory

    def _states(self, x_BL: Tensor, valid_BL: Tensor | None, memory: BidirectionalKVCache | None = None) -> Tensor:
        c = self.config
        turn = rotary(x_BL.shape[1], c.hidden_size // c.num_attention_heads, x_BL.device, c.rope_theta)
        if memory is not None:
            x_BL, turn = memory.only(x_BL, turn)
        x = self.model["embed_tokens"](x_BL)
        bias = padding_bias(valid_BL, x.dtype)
        for layer, block in enumerate(self.model["layers"]):  # type: ignore[arg-type]
            x = block(x, turn, bias, memory, layer)
        return self.model["norm"](x)  # type: ignore[no-any-return]

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        head: Any = self.model["embed_tokens"] if self.lm_head is None else self.lm_head
        return h_ND, head.weight, None


def _shifted(h_BLD: Tensor, valid_BL: Tensor | None) -> Tensor:
    """Each position's predecessor's state."""
    before_BLD = torch.cat([h_BLD[:, :1], h_BLD[:, :-1]], dim=1)
    if valid_BL is None:
        return before_BLD
    # the first position that exists has no predecessor: like the first of all, it keeps its own state
    alone_BL = ~torch.cat([valid_BL[:, :1], valid_BL[:, :-1]], dim=1)
    return torch.where(alone_BL[..., None], h_BLD, before_BLD)


def load(folder: Path, raw: dict[str, Any], dtype: torch.dtype | None) -> DreamDenoiser:
    """The denoiser of a Dream folder.

    Raises:
        CheckpointError: an unsupported setting, or weights that do not fit.
    """
    config = DreamConfig.read(raw, folder)
    return fill(lambda: DreamDenoiser(config), folder, dtype)


def tokenizer(folder: Path) -> Any:
    """Dream's tokenizer: Qwen2's byte-level BPE under another name."""
    from transformers import Qwen2TokenizerFast

    return Qwen2TokenizerFast.from_pretrained(folder, local_files_only=True)
