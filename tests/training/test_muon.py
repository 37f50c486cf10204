"""Our Muon takes the steps of PyTorch's own, with matrices of one shape together and in either precision."""

import pytest
import torch
from torch import nn

from unmask.training.muon import Muon, muon, orthogonal

PRECISIONS = (torch.bfloat16, torch.float32)


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_updates_have_singular_values_near_one(dtype):
    g = torch.Generator().manual_seed(0)
    for shape in ((16, 16), (40, 8), (8, 40)):
        x = torch.randn(shape, generator=g)
        u, _, v = torch.linalg.svd(x, full_matrices=False)
        found = orthogonal(x, dtype).float()
        # U^T X V is diagonal and near 1: the directions are kept, the lengths are not
        inside = u.T @ found @ v.T
        assert (inside.diagonal() > 0.5).all() and (inside.diagonal() < 1.4).all()
        assert (inside - inside.diagonal().diag()).abs().max() < 0.1


@pytest.mark.parametrize("shape", [(24, 24), (24, 96), (96, 24), (24, 47)])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_stack_is_what_its_matrices_are_alone(shape, dtype):
    g = torch.Generator().manual_seed(1)
    # singular values over six decades: products of rows alone must not lose the small ones
    scale = torch.logspace(0, -6, shape[1])
    x = torch.randn(3, *shape, generator=g) * scale
    alone = torch.stack([orthogonal(one, dtype) for one in x])
    torch.testing.assert_close(
        orthogonal(x, dtype).float(), alone.float(), atol=2e-2 if dtype == PRECISIONS[0] else 1e-4, rtol=0
    )


def test_products_of_rows_alone_give_the_same():
    x = torch.randn(20, 90, generator=torch.Generator().manual_seed(2)) * torch.logspace(0, -4, 20)[:, None]
    double = x.double() / x.double().norm()
    for _ in range(5):
        gram = double @ double.T
        double = 3.4445 * double + (-4.7750 * gram + 2.0315 * gram @ gram) @ double
    torch.testing.assert_close(orthogonal(x, torch.float32).double(), double, atol=1e-3, rtol=0)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon to compare with")
def test_steps_and_state_are_pytorchs():
    weights = []
    for make in (torch.optim.Muon, Muon):
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(12, 30, bias=False), nn.Tanh(), nn.Linear(30, 5, bias=False))
        named = {"adjust_lr_fn": "original"} if make is not Muon else {}
        optimizer = make(list(net.parameters()), lr=0.02, weight_decay=0.1, **named)
        x, y = torch.randn(64, 12), torch.randn(64, 5)
        for _ in range(5):
            optimizer.zero_grad()
            (net(x) - y).square().mean().backward()
            optimizer.step()
        state = [s["momentum_buffer"] for s in optimizer.state_dict()["state"].values()]
        weights.append([*net.state_dict().values(), *state])
    torch.testing.assert_close(weights[1], weights[0])


def test_states_are_exchanged_with_pytorchs():
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this PyTorch has no Muon to exchange with")
    weights = [nn.Parameter(torch.ones(4, 3)), nn.Parameter(torch.ones(4, 3))]
    theirs, ours = muon(weights, 0.01, 0.0, whole=False), muon(weights, 0.01, 0.0)
    assert isinstance(theirs, torch.optim.Muon) and isinstance(ours, Muon)
    ours.step()  # nothing has a gradient: nothing happens
    for p in weights:
        p.grad = torch.ones_like(p)
    ours.step()
    theirs.load_state_dict(ours.state_dict())
    theirs.step()
    ours.load_state_dict(theirs.state_dict())
    ours.step()
    assert [*ours.state_dict()["state"][1]] == ["momentum_buffer"]
