"""KL, active units and mutual information of Gaussian posteriors against closed forms."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from unmask.core.errors import UsageError
from unmask.metrics.active_units import active_units
from unmask.metrics.kl import kl_to_standard_normal
from unmask.metrics.mutual_information import mutual_information


def test_kl_agrees_with_torch_and_is_zero_at_the_prior():
    g = torch.Generator().manual_seed(0)
    mu, logvar = torch.randn(5, 3, generator=g), torch.randn(5, 3, generator=g)
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_to_standard_normal(mu, logvar), expected)
    assert kl_to_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3)).abs().max() == 0


def test_active_units_at_the_threshold():
    # two texts at +-s have variance 2 s^2
    s = math.sqrt(0.01 / 2)
    mu = torch.tensor([[1.01 * s, 0.99 * s, 0.0], [-1.01 * s, -0.99 * s, 0.0]]) + 5.0
    assert active_units(mu).tolist() == [True, False, False]
    with pytest.raises(UsageError, match="at least 2"):
        active_units(mu[:1])


def test_a_collapsed_posterior_has_no_information():
    assert mutual_information(torch.ones(64, 4), torch.zeros(64, 4)) == pytest.approx(0, abs=1e-9)


def test_separate_posteriors_reach_log_n_and_no_more():
    mu = torch.arange(32.0)[:, None] * 100
    assert mutual_information(mu, torch.zeros(32, 1)) == pytest.approx(math.log(32))


def test_linear_gaussian_channel():
    # mu ~ N(0, 1), noise variance v: I = 0.5 log(1 + 1/v) in each of two independent dimensions
    g = torch.Generator().manual_seed(1)
    mu = torch.randn(3000, 2, generator=g, dtype=torch.float64)
    v = 0.5
    found = mutual_information(mu, torch.full_like(mu, math.log(v)), draws=4)
    assert found == pytest.approx(2 * 0.5 * math.log(1 + 1 / v), rel=0.04)


def test_seed_decides():
    mu = torch.randn(20, 2, generator=torch.Generator().manual_seed(2))
    a = mutual_information(mu, torch.zeros(20, 2), draws=1, seed=1)
    assert a == mutual_information(mu, torch.zeros(20, 2), draws=1, seed=1)
    assert a != mutual_information(mu, torch.zeros(20, 2), draws=1, seed=2)
