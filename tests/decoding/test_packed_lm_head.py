"""The head with its weight laid out once gives the head's logits, and steps aside where it cannot."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask.core.denoiser import Body, Denoiser
from unmask.decoding import DecodingPlan, generate
from unmask.decoding.packed_lm_head import FEWEST, PackedLMHead


class Wide(Denoiser):
    """A head large enough to be worth it."""

    def __init__(self, dtype: torch.dtype = torch.float32, fresh: bool = False) -> None:
        g = torch.Generator().manual_seed(0)
        self.vocab_size, self.mask_id, self.fresh = FEWEST // 64, 5, fresh
        self.embed = torch.randn(self.vocab_size, 64, generator=g).to(dtype)
        self.bias = torch.randn(self.vocab_size, generator=g).to(dtype)

    def body(self, x_BL: Tensor, *args: Any, **kwargs: Any) -> Body:
        return Body(torch.tanh(self.embed[x_BL] + torch.arange(x_BL.shape[1])[:, None] / 7))

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return h_ND, self.embed.clone() if self.fresh else self.embed, self.bias


def test_logits_equal_the_denoisers_own() -> None:
    net = Wide()
    fast = PackedLMHead(net, calls=100)
    for rows in (1, 7, 16, 80):
        h_ND = torch.randn(rows, 64, generator=torch.Generator().manual_seed(rows))
        logits_NV = fast(h_ND)
        assert fast._packed is not None
        torch.testing.assert_close(logits_NV, net.head(h_ND), rtol=1e-5, atol=1e-4)
        assert (logits_NV[:, 5] == float("-inf")).all()
    assert fast(torch.empty(0, 64)).shape == (0, net.vocab_size)


def test_a_bias_that_changes_is_used() -> None:
    net = Wide()
    fast = PackedLMHead(net, calls=100)
    h_ND = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    for bias in (net.bias, net.bias + 1, None):
        net.bias = bias  # type: ignore[assignment]
        torch.testing.assert_close(fast(h_ND), net.head(h_ND), rtol=1e-5, atol=1e-4)
    assert fast._packed is not None


def test_half_precision_is_the_one_that_autocast_would_use() -> None:
    h_ND = torch.randn(9, 64, generator=torch.Generator().manual_seed(1))
    net, half = Wide(), Wide(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        fast = PackedLMHead(net, calls=100)
        logits_NV, own_NV = fast(h_ND), net.head(h_ND)
    assert logits_NV.dtype == own_NV.dtype == torch.bfloat16
    torch.testing.assert_close(logits_NV, own_NV)
    torch.testing.assert_close(PackedLMHead(half, calls=100)(h_ND.bfloat16()), half.head(h_ND.bfloat16()))
    wide = Wide(torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        assert PackedLMHead(wide, calls=100)(h_ND.double()).dtype == torch.float64


def test_it_steps_aside() -> None:
    class Own(Wide):
        def head(self, h_ND: Tensor) -> Tensor:
            return super().head(h_ND) * 2

    h_ND = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    for net, calls in ((Own(), 100), (Wide(), 2), (Wide(torch.float64), 100)):
        fast = PackedLMHead(net, calls)
        h = h_ND.to(net.embed.dtype)
        assert torch.equal(fast(h), net.head(h)) and fast._packed is None
    fresh = Wide(fresh=True)
    fast = PackedLMHead(fresh, 100)
    for _ in range(3):
        torch.testing.assert_close(fast(h_ND), fresh.head(h_ND), rtol=1e-5, atol=1e-4)
    assert fast._packed is None  # a weight made anew each time is not laid out each time


def test_tokens_are_the_same_with_and_without() -> None:
    class Own(Wide):
        def head(self, h_ND: Tensor) -> Tensor:
            return super().head(h_ND)

    x_BL = torch.full((2, 14), 5)
    for temperature in (0.0, 1.0):
        plan = DecodingPlan(quota="one", temperature=temperature)
        assert torch.equal(generate(Wide(), x_BL, plan).sequences, generate(Own(), x_BL, plan).sequences)
