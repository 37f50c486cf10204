"""Who sees whom, how far away it is, and attention that can go on from a cache.

Everything follows from three numbers a position (see :mod:`unmask.data.tidal.samples`): segment, token, character.

Shapes: B batch, Q queries, S keys, H heads, K head width, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unmask.models.layers import FeedForward, SelfAttention, attention, rotate

#: added where attention is forbidden: exp of it is exactly 0, and a row of padding stays finite where -inf gives NaN
FORBIDDEN = -1e9


@dataclass
class Places:
    """Where each position stands, int64 [B, L] each: ``segment`` (0 is padding), ``token``, ``character`` (-1 none)."""

    segment: Tensor
    token: Tensor
    character: Tensor

    @classmethod
    def of_ids(cls, ids_BL: Tensor, bob_id: int, valid_BL: Tensor | None = None) -> Places:
        """One sample a row: tokens up to the first ``<bob>``, then its block. Padding may stand anywhere."""
        valid = torch.ones_like(ids_BL, dtype=torch.bool) if valid_BL is None else valid_BL
        block = ((ids_BL == bob_id) & valid).cumsum(1) > 0
        token = (valid & ~block).cumsum(1)
        character = (valid & block).cumsum(1) - 1
        # a block stands at the number of tokens before it, which is what the running count says there
        return cls(valid.long(), torch.where(block, token, token - 1).clamp(min=0), character.masked_fill(~block, -1))

    def cat(self, other: Places) -> Places:
        """The positions of ``self``, then those of ``other``."""
        return Places(*(torch.cat(pair, 1) for pair in zip(self.all(), other.all(), strict=True)))

    def all(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.segment, self.token, self.character


def allowed(query: Places, key: Places, mode: str) -> Tensor:
    """Whether each query may look at each key, bool [B, Q, S].

    Args:
        mode: ``tidal`` (tokens see all tokens of their segment; a block its tokens and its earlier characters),
            ``masked`` (a block sees all of itself) or ``causal`` (tokens see earlier tokens only).
    """
    (q_segment, q_token, q_character), (k_segment, k_token, k_character) = (
        (x[:, :, None] for x in query.all()),
        (x[:, None, :] for x in key.all()),
    )
    q_block, k_block = q_character >= 0, k_character >= 0
    earlier = k_token <= q_token if mode == "causal" else torch.ones_like(k_token <= q_token)
    inside = k_token == q_token
    if mode != "masked":
        inside = inside & (k_character <= q_character)
    sees = torch.where(q_block, torch.where(k_block, inside, k_token < q_token), ~k_block & earlier)
    return sees & (q_segment == k_segment) & (k_segment > 0)


def slopes(heads: int, device: torch.device | None = None) -> Tensor:
    """ALiBi's slopes [H], 2^(-8/H) to 2^-8 (arXiv 2108.12409)."""
    return 2.0 ** (-8.0 * torch.arange(1, heads + 1, device=device) / heads)


def alibi(query: Places, key: Places, heads: int) -> Tensor:
    """Bias [B, H, Q, S] that falls with the distance on both axes: never positive, never a function of the length.

    Token places count between all pairs, character offsets between two characters of a block. Looking right costs the
    slopes in reverse order, so that where attention goes both ways every head can tell left from right.
    """
    token = query.token[:, :, None] - key.token[:, None, :]
    both = (query.character >= 0)[:, :, None] & (key.character >= 0)[:, None, :]
    character = (query.character[:, :, None] - key.character[:, None, :]).masked_fill(~both, 0)
    left = (token.clamp(min=0) + character.clamp(min=0)).float()
    right = (token.clamp(max=0) + character.clamp(max=0)).float()
    slope_H11 = slopes(heads, token.device)[:, None, None]
    return right[:, None] * slope_H11.flip(0) - left[:, None] * slope_H11


def turns(places: Places, width: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """cos and sin [B, 1, L, K/2] of rotary angles: half of the pairs turn by the token place, half by the offset."""
    pairs = width // 2
    half = pairs // 2
    rate = base ** (-torch.arange(half, device=places.token.device, dtype=torch.float32) / half)
    by_token = places.token[..., None] * rate
    by_character = places.character.clamp(min=0)[..., None] * rate
    angle = torch.cat([by_token, by_character], -1)[:, None]
    return angle.cos(), angle.sin()


@dataclass
class Past:
    """Keys and values of one layer, [B, H, S, K] each."""

    key: Tensor
    value: Tensor


class CachedAttention(SelfAttention):
    """:class:`SelfAttention` that can put cached keys before its own, and show its weights."""

    def forward(  # type: ignore[override]
        self,
        x_BQD: Tensor,
        turn: tuple[Tensor, Tensor] | None,
        bias: Tensor,
        past: Past | None = None,
        shown: list[Tensor] | None = None,
    ) -> tuple[Tensor, Past]:
        B, Q, D = x_BQD.shape
        q, k, v = self.qkv(x_BQD).view(B, Q, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        if turn is not None:
            q, k = rotate(q, *turn), rotate(k, *turn)
        if past is not None:
            k, v = torch.cat([past.key, k], 2), torch.cat([past.value, v], 2)
        if shown is not None:
            shown.append((q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias).softmax(-1).detach())
        y_BQD = attention(q, k, v, bias).transpose(1, 2).reshape(B, Q, D)
        return self.out(y_BQD), Past(k, v)


class TidalBlock(nn.Module):
    """Pre-norm transformer block over :class:`CachedAttention`."""

    def __init__(self, dim: int, heads: int, hidden: int, *, gated: bool, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(dim, eps=1e-6)
        self.attn = CachedAttention(dim, heads)
        self.norm2 = nn.RMSNorm(dim, eps=1e-6)
        self.mlp = FeedForward(dim, hidden, gated)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x_BQD: Tensor,
        turn: tuple[Tensor, Tensor] | None,
        bias: Tensor,
        past: Past | None = None,
        shown: list[Tensor] | None = None,
    ) -> tuple[Tensor, Past]:
        y, now = self.attn(self.norm1(x_BQD), turn, bias, past, shown)
        x_BQD = x_BQD + self.dropout(y)
        return x_BQD + self.dropout(self.mlp(self.norm2(x_BQD))), now
