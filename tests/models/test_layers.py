"""Operations in fewer passes over memory are their formulas, gradients included: rotary positions, scaled norms."""

import pytest
import torch

from unmask.models.layers import rotary, rotate, scaled_norm


def by_formula(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [None, 3])
def test_rotation_and_its_gradient_are_the_formulas(dtype: torch.dtype, rows: int | None) -> None:
    g = torch.Generator().manual_seed(0)
    # as attention has it: a view whose heads and positions are swapped
    base = torch.randn(3, 7, 2, 8, generator=g)
    cos, sin = rotary(7, 8, base.device)
    if rows is not None:  # places of their own in each row
        place = torch.randint(0, 7, (rows, 7), generator=g)
        cos, sin = cos[place][:, None], sin[place][:, None]
    found, wanted = (base.to(dtype).requires_grad_() for _ in range(2))
    weight = torch.randn(3, 2, 7, 8, generator=g)
    out = rotate(found.transpose(1, 2), cos, sin)
    exact = by_formula(wanted.float().transpose(1, 2), *(part.to(dtype).float() for part in (cos, sin)))
    (out.float() * weight).sum().backward()
    (exact * weight.to(dtype).float()).sum().backward()
    close = {"atol": 2e-2, "rtol": 2e-2} if dtype == torch.bfloat16 else {"atol": 1e-6, "rtol": 1e-6}
    assert out.dtype == dtype and out.is_contiguous()
    torch.testing.assert_close(out.float(), exact, **close)
    torch.testing.assert_close(found.grad.float(), wanted.grad.float(), **close)


def test_lengths_are_kept_and_the_first_place_stays() -> None:
    x = torch.randn(1, 1, 5, 4, generator=torch.Generator().manual_seed(1))
    out = rotate(x, *rotary(5, 4, x.device))
    torch.testing.assert_close(out.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(out[:, :, 0], x[:, :, 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cut", [False, True])
def test_scaled_norm_and_its_gradients_are_the_formulas(dtype: torch.dtype, cut: bool) -> None:
    g = torch.Generator().manual_seed(0)
    norm = torch.nn.RMSNorm(16, eps=1e-6, elementwise_affine=False)
    # states of all positions with one scale a row, or those of some places with their own
    shapes = ((5, 16), (5, 16)) if cut else ((3, 7, 16), (3, 1, 16))
    states = 3 * torch.randn(shapes[0], generator=g)
    steer = 0.5 * torch.randn(*shapes[1][:-1], 32, generator=g)
    weight = torch.randn(shapes[0], generator=g)
    found = []
    for fused in (True, False):
        x, s = states.clone().requires_grad_(), steer.to(dtype).requires_grad_()
        scale, shift = s.chunk(2, -1)
        out = scaled_norm(norm, x, scale, shift) if fused else norm(x) * (1 + scale.float()) + shift.float()
        (out.float() * weight).sum().backward()
        found.append([out.detach().float(), x.grad, s.grad.float()])
        assert not fused or out.dtype == dtype
    close = {"atol": 5e-2, "rtol": 2e-2} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(*found, **close)


def test_scaled_norm_is_plain_where_nothing_is_trained() -> None:
    norm = torch.nn.RMSNorm(16, eps=1e-6, elementwise_affine=False)
    x, scale, shift = torch.randn(3, 3, 4, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(scaled_norm(norm, x, scale, shift), norm(x) * (1 + scale) + shift)
