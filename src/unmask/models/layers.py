"""Building blocks of the native denoiser.

Shapes: B batch, L positions (prefix tokens included), D width, H heads, K head width, R relations.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from unmask.models.bidirectional_cache import BidirectionalKVCache

#: row and column numbers [N] of positions in a batch
RotaryTables = tuple[Tensor, Tensor]

#: up to this length plain matmul-softmax-matmul beats fused attention on a CPU in bf16 (about 3x at 64 positions)
PLAIN_ATTENTION_LENGTH = 256


def attention(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, bias: Tensor | None) -> Tensor:
    """Softmax attention with an additive bias that broadcasts to [B, H, L, L]."""
    if q_BHLK.device.type != "cpu" or k_BHLK.shape[2] > PLAIN_ATTENTION_LENGTH:
        bias = None if bias is None else bias.to(q_BHLK.dtype)
        return F.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, attn_mask=bias)
    scores = (q_BHLK * q_BHLK.shape[-1] ** -0.5) @ k_BHLK.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    # .to: under autocast softmax answers in fp32, and an fp32 product with v would lose the bf16 speed
    return scores.softmax(-1).to(v_BHLK.dtype) @ v_BHLK


def rotary(length: int, width: int, device: torch.device, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """cos and sin [L, K/2] of the rotary angles (arXiv 2104.09864), fp32."""
    rate = base ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * rate
    return angle.cos(), angle.sin()


def unturned(rows: int, like: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Angles of tokens that have no place in the text, as wide as others."""
    width, device = like[0].shape[1], like[0].device
    return torch.ones(rows, width, device=device), torch.zeros(rows, width, device=device)


def beside(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The angles of some tokens and of those behind them."""
    return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])


def rotate(x_BHLK: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
    """Queries or keys with rotary embeddings applied: pairs (x_i, x_{i + K/2}) turned by their position's angle."""
    cos_LK, sin_LK = cos_LK.to(x_BHLK.dtype), sin_LK.to(x_BHLK.dtype)
    if torch.compiler.is_compiling():
        # the compiler fuses this, and would stop at what is written into halves
        a, b = x_BHLK.chunk(2, dim=-1)
        return torch.cat([a * cos_LK - b * sin_LK, b * cos_LK + a * sin_LK], dim=-1)
    return _Rotate.apply(x_BHLK, cos_LK, sin_LK)  # type: ignore[no-any-return, no-untyped-call]


class _Rotate(torch.autograd.Function):
    """Written into its halves without copies; its gradient is turned back by the same angle, and nothing is kept."""

    @staticmethod
    def forward(ctx: Any, x_BHLK: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
        ctx.save_for_backward(cos_LK, sin_LK)
        return _turned(x_BHLK, cos_LK, sin_LK)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_BHLK: Tensor) -> tuple[Tensor, None, None]:
        cos_LK, sin_LK = ctx.saved_tensors
        return _turned(grad_BHLK, cos_LK, -sin_LK), None, None


def _turned(x_BHLK: Tensor, cos_LK: Tensor, sin_LK: Tensor) -> Tensor:
    a, b = x_BHLK.chunk(2, dim=-1)
    out_BHLK = torch.empty_like(x_BHLK, memory_format=torch.contiguous_format)
    low, high = out_BHLK.chunk(2, dim=-1)
    torch.mul(a, cos_LK, out=low).addcmul_(b, sin_LK, value=-1)
    torch.mul(b, cos_LK, out=high).addcmul_(a, sin_LK)
    return out_BHLK


def scaled_norm(norm: nn.RMSNorm, x_BLD: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``norm(x) * (1 + scale) + shift`` for a norm without weights; while training in fewer passes over memory.

    Outside training it is that expression to the last bit, and under a compiler, which fuses it.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return norm(x_BLD) * (1 + scale) + shift  # type: ignore[no-any-return]
    return _ScaledNorm.apply(x_BLD, scale, shift, norm.eps)  # type: ignore[no-any-return, no-untyped-call]


class _ScaledNorm(torch.autograd.Function):
    """Keeps the normed states in the precision of the scale, and answers in it: the product behind wants it so."""

    @staticmethod
    def forward(ctx: Any, x_BLD: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
        wide = torch.promote_types(x_BLD.dtype, torch.float32)
        size_BL1 = torch.linalg.vector_norm(x_BLD, dim=-1, keepdim=True, dtype=wide)
        rate_BL1 = size_BL1.square().div_(x_BLD.shape[-1]).add_(eps).rsqrt_()
        normed_BLD = torch.empty(x_BLD.shape, dtype=scale.dtype, device=x_BLD.device)
        torch.mul(x_BLD, rate_BL1, out=normed_BLD)
        factor = scale + 1
        ctx.save_for_backward(normed_BLD, rate_BL1, factor)
        ctx.dtype = x_BLD.dtype
        return torch.addcmul(shift, normed_BLD, factor)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_BLD: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        normed_BLD, rate_BL1, factor = ctx.saved_tensors
        along_BLD = grad_BLD * normed_BLD
        mean_BL1 = (along_BLD * factor).sum(-1, keepdim=True, dtype=rate_BL1.dtype).div_(grad_BLD.shape[-1])
        grad_x_BLD = torch.mul(grad_BLD * factor, rate_BL1).addcmul_(normed_BLD, rate_BL1 * mean_BL1, value=-1)
        # what is one for all positions of a row has the sum of their gradients
        of_scale, of_shift = along_BLD.sum_to_size(factor.shape), grad_BLD.sum_to_size(factor.shape)
        return grad_x_BLD.to(ctx.dtype), of_scale, of_shift, None


def sinusoid(x_B: Tensor, width: int) -> Tensor:
    """Features [B, width] of a number in [0, 1]; the finest turns once in 1/1000."""
    half = width // 2
    rate = torch.exp(-math.log(10_000.0) * torch.arange(half, device=x_B.device, dtype=torch.float32) / half)
    angle = 1000.0 * x_B.float()[:, None] * rate
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class SelfAttention(nn.Module):
    """Bidirectional multi-head attention; positions may be rotary, relations may bias each head."""

    def __init__(self, dim: int, heads: int, relations: int = 0) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        # one learned weight a head and relation: "same row" may pull in one head and push in another
        self.relation = nn.Parameter(torch.zeros(heads, relations)) if relations else None

    def forward(
        self,
        x_BLD: Tensor,
        turn: tuple[Tensor, Tensor] | None,
        mask: Tensor | None,
        relations_RLL: Tensor | None = None,
        memory: BidirectionalKVCache | None = None,
        layer: int = 0,
        at: RotaryTables | None = None,
    ) -> Tensor:
        B, L, D = x_BLD.shape
        q, k, v = self.qkv(x_BLD).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        if turn is not None:
            q, k = rotate(q, *turn), rotate(k, *turn)
        if memory is not None:
            k, v = memory.exchange(layer, k, v)
        bias = mask
        if self.relation is not None and relations_RLL is not None:
            # [H, R] x [..., R, L, L] -> [..., H, L, L]; relations may differ from row to row of the batch
            pull = torch.einsum("hr,...rij->...hij", self.relation, relations_RLL.to(self.relation.dtype))
            bias = pull if mask is None else pull + mask
        y_BLD = attention(q, k, v, bias).transpose(1, 2).reshape(B, L, D)
        return self.out(y_BLD if at is None else y_BLD[at])  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """Cross-attention from the canvas to the latent tokens."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(self, x_BLD: Tensor, latent_BMD: Tensor) -> Tensor:
        B, L, D = x_BLD.shape
        M, K = latent_BMD.shape[1], D // self.heads
        q = self.q(x_BLD).view(B, L, self.heads, K).transpose(1, 2)
        k, v = self.kv(latent_BMD).view(B, M, 2, self.heads, K).permute(2, 0, 3, 1, 4)
        return self.out(attention(q, k, v, None).transpose(1, 2).reshape(B, L, D))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """GELU or gated SiLU (SwiGLU)."""

    def __init__(self, dim: int, hidden: int, gated: bool) -> None:
        super().__init__()
        self.gated = gated
        self.up = nn.Linear(dim, (2 if gated else 1) * hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        up = self.up(x_BLD)
        if self.gated:
            gate, up = up.chunk(2, dim=-1)
            return self.down(F.silu(gate) * up)  # type: ignore[no-any-return]
        return self.down(F.gelu(up, approximate="tanh"))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm transformer block; with ``modulated`` its norms are scaled, shifted and gated by a vector (AdaLN-Zero).

    AdaLN-Zero (arXiv 2212.09748): the gates start at zero, so each block starts as the identity.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        modulated: bool,
        cross: bool,
        gated: bool,
        dropout: float,
        relations: int,
    ) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(dim, eps=1e-6, elementwise_affine=not modulated)
        self.attn = SelfAttention(dim, heads, relations)
        self.norm2 = nn.RMSNorm(dim, eps=1e-6, elementwise_affine=not modulated)
        self.mlp = FeedForward(dim, hidden, gated)
        self.modulation = nn.Linear(dim, 6 * dim) if modulated else None
        self.cross = CrossAttention(dim, heads) if cross else None
        self.norm_cross = nn.RMSNorm(dim, eps=1e-6) if cross else None
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x_BLD: Tensor,
        turn: tuple[Tensor, Tensor] | None,
        mask: Tensor | None,
        steer_BD: Tensor | None,
        latent_BMD: Tensor | None,
        relations_RLL: Tensor | None,
        memory: BidirectionalKVCache | None = None,
        layer: int = 0,
        at: RotaryTables | None = None,
    ) -> Tensor:
        """States [B, L, D]; with ``at`` (no cross attention) only those of its N places, [N, D]."""
        if self.modulation is not None:
            assert steer_BD is not None
            shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(steer_BD)[:, None].chunk(6, dim=-1)
            x = scaled_norm(self.norm1, x_BLD, scale1, shift1)
            y = self.attn(x, turn, mask, relations_RLL, memory, layer, at)
            if at is not None:
                x_BLD = x_BLD[at]
                gate1, shift2, scale2, gate2 = (part[at[0], 0] for part in (gate1, shift2, scale2, gate2))
            x_BLD = x_BLD + gate1 * self.dropout(y)
            x_BLD = self._look(x_BLD, latent_BMD)
            y = self.mlp(scaled_norm(self.norm2, x_BLD, scale2, shift2))
            return x_BLD + gate2 * self.dropout(y)  # type: ignore[no-any-return]
        y = self.attn(self.norm1(x_BLD), turn, mask, relations_RLL, memory, layer, at)
        x_BLD = (x_BLD if at is None else x_BLD[at]) + self.dropout(y)
        x_BLD = self._look(x_BLD, latent_BMD)
        return x_BLD + self.dropout(self.mlp(self.norm2(x_BLD)))  # type: ignore[no-any-return]

    def _look(self, x_BLD: Tensor, latent_BMD: Tensor | None) -> Tensor:
        if self.cross is None or self.norm_cross is None or latent_BMD is None:
            return x_BLD
        return x_BLD + self.dropout(self.cross(self.norm_cross(x_BLD), latent_BMD))  # type: ignore[no-any-return]
