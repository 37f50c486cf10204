"""Rotary positions: the rotation that is written without copies is the one of the formula, gradient included."""

import pytest
import torch

from unmask.models.layers import rotary, rotate


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
