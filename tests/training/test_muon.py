"""Our Muon for old versions of PyTorch takes the steps of PyTorch's own."""

import pytest
import torch
from torch import nn

from unmask.training.muon import OwnMuon, muon, orthogonal


def test_updates_have_singular_values_near_one():
    g = torch.Generator().manual_seed(0)
    for shape in ((16, 16), (40, 8), (8, 40)):
        x = torch.randn(shape, generator=g)
        u, _, v = torch.linalg.svd(x, full_matrices=False)
        found = orthogonal(x).float()
        # U^T X V is diagonal and near 1: the directions are kept, the lengths are not
        inside = u.T @ found @ v.T
        assert (inside.diagonal() > 0.5).all() and (inside.diagonal() < 1.4).all()
        assert (inside - inside.diagonal().diag()).abs().max() < 0.1


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon to compare with")
def test_steps_and_state_are_pytorchs():
    weights = []
    for make in (muon, OwnMuon):
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(12, 30, bias=False), nn.Tanh(), nn.Linear(30, 5, bias=False))
        optimizer = make(list(net.parameters()), lr=0.02, weight_decay=0.1)
        x, y = torch.randn(64, 12), torch.randn(64, 5)
        for _ in range(5):
            optimizer.zero_grad()
            (net(x) - y).square().mean().backward()
            optimizer.step()
        state = [s["momentum_buffer"] for s in optimizer.state_dict()["state"].values()]
        weights.append([*net.state_dict().values(), *state])
    torch.testing.assert_close(weights[1], weights[0])


def test_without_pytorchs_own_ours_is_taken(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    optimizer = muon([nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4, 3))], 0.01, 0.0)
    assert isinstance(optimizer, OwnMuon)
    optimizer.step()  # nothing has a gradient: nothing happens
