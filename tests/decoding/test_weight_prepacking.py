"""A body whose linear layers were laid out once gives the same states, leaves no trace, and steps aside."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unmask.core.denoiser import Body, Denoiser
from unmask.decoding import DecodingPlan, generate
from unmask.decoding.weight_prepacking import _Product, laid_out_body

WIDTH, V, MASK = 64, 50, 49


class Half(nn.Linear):
    """Somebody's own kind of linear layer."""


class Net(nn.Module, Denoiser):
    """Two linear layers large enough to be laid out, one that is never called, one of another kind."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.vocab_size, self.mask_id = V, MASK
        self.embed = nn.Embedding(V, WIDTH, dtype=dtype)
        self.mix = nn.Linear(WIDTH, 4 * WIDTH, dtype=dtype)
        self.back = nn.Linear(4 * WIDTH, WIDTH, bias=False, dtype=dtype)
        self.own = Half(WIDTH, WIDTH, dtype=dtype)
        self.unused = nn.Linear(WIDTH, 4 * WIDTH, dtype=dtype)
        self.seen: list[str] = []

    def body(self, x_BL: Tensor, *args: Any, **kwargs: Any) -> Body:
        self.seen.append(type(self.mix.forward).__name__)
        place = torch.arange(x_BL.shape[1], dtype=self.embed.weight.dtype)[:, None] / 7
        h = self.embed(x_BL) + place.sin()
        h = h + h.mean(1, keepdim=True)
        return Body(self.own(h + self.back(torch.tanh(self.mix(h)))))

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return h_ND, self.embed.weight, None


@pytest.mark.parametrize("auto", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_states_are_the_ones_of_the_model(dtype: torch.dtype, auto: bool) -> None:
    net = Net(dtype)
    x_BL = torch.randint(0, V, (4, 30), generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=auto):
        plain = net.body(x_BL).h_BLD
        with laid_out_body(net, 20, x_BL.numel()):
            assert isinstance(net.mix.forward, _Product) and not isinstance(net.own.forward, _Product)
            fast, again = net.body(x_BL).h_BLD, net.body(x_BL[:1]).h_BLD
            assert net.mix.forward.weight is not None and net.unused.forward.weight is None
    near = {"rtol": 2e-2, "atol": 2e-2} if auto or dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-5}
    assert fast.dtype == plain.dtype
    torch.testing.assert_close(fast, plain, **near)
    torch.testing.assert_close(again, plain[:1], **near)
    assert "forward" not in net.mix.__dict__, "nothing is left behind"


def test_a_generation_uses_it_and_writes_the_same_tokens() -> None:
    x_BL = torch.full((3, 40), MASK)
    with torch.no_grad():
        for temperature in (0.0, 1.0):
            net, plan = Net(), DecodingPlan(quota="one", temperature=temperature)
            found = generate(net, x_BL, plan).sequences
            assert set(net.seen) == {"_Product"}
            net.body_at = net.body_at  # an attribute of its own, as torch.compile leaves it
            assert torch.equal(generate(net, x_BL, plan).sequences, found) and net.seen[-1] == "method"


def test_it_steps_aside_and_cleans_up() -> None:
    net = Net()
    x_BL = torch.zeros(4, 30, dtype=torch.long)
    with laid_out_body(net, 20, x_BL.numel()):
        out = net.body(x_BL).h_BLD  # gradients are on
        out.sum().backward()
        assert net.mix.weight.grad is not None and net.mix.forward.weight is None
    with laid_out_body(net, 2, 100), laid_out_body(net, 100, 8):
        assert "forward" not in net.mix.__dict__, "too little work to be worth it"
    net.mix.forward = lambda x: nn.functional.linear(x, net.mix.weight, net.mix.bias)  # somebody's hook
    mine = net.mix.forward
    with pytest.raises(RuntimeError, match="stop"), laid_out_body(net, 20, x_BL.numel()):
        assert net.mix.forward is mine and isinstance(net.back.forward, _Product)
        raise RuntimeError("stop")
    assert net.mix.forward is mine and "forward" not in net.back.__dict__
    wide = Net(torch.float64)
    with torch.no_grad(), laid_out_body(wide, 20, x_BL.numel()):
        assert wide.body(x_BL).h_BLD.dtype == torch.float64 and wide.mix.forward.weight is None
