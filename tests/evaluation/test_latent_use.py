"""Penalties of false latents against a model whose use of its latent is known exactly."""

import math

import numpy as np
import pytest
import torch

from oracles import UniformDenoiser
from unmask.core.denoiser import Body, Denoiser
from unmask.core.errors import UsageError
from unmask.evaluation.latent_use import derangement, latent_use, matched_noise, measure_posterior
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel

V, MASK, SURE = 9, 8, 0.9


class Copier(Denoiser):
    """The latent is one-hot: with it, the named id has probability 0.9 everywhere; without it, all are alike."""

    vocab_size, mask_id, conditional = V, MASK, True

    def body(self, x_BL, cond=None, t_B=None, *, valid_BL=None, carry=None):
        rest = (1 - SURE) / (V - 2)
        told_BV = torch.where(cond.latent_BZ > 0.5, math.log(SURE), math.log(rest))
        told_BV = torch.where(cond.present_B[:, None], told_BV, torch.zeros(()))
        return Body(torch.nn.functional.pad(told_BV, (0, 1))[:, None].expand(-1, x_BL.shape[1], -1))

    def project(self, h_ND):
        return h_ND, torch.eye(V), None


class Deaf(Copier):
    """Hears nothing: every latent is the null one."""

    def body(self, x_BL, cond=None, t_B=None, *, valid_BL=None, carry=None):
        return super().body(x_BL, cond.nulled())


IDS = torch.arange(8)[:, None].expand(8, 6).contiguous()
LATENTS = torch.eye(8)


def test_penalties_have_their_closed_form():
    use = latent_use(Copier(), IDS, LATENTS, samples=4)
    sure, rest, flat = -math.log(SURE), -math.log((1 - SURE) / 7), math.log(8)
    assert use.true.nats_per_token().value == pytest.approx(sure, rel=1e-5)
    for expected, name in ((rest - sure, "shuffled"), (flat - sure, "null")):
        assert use.penalty(name).value == pytest.approx(expected, rel=1e-5)
        assert use.penalty_by_ratio(name)[-1].value == pytest.approx(expected, rel=1e-5)
        assert use.penalty(name).above_zero
    assert use.posterior is None


def test_a_deaf_model_pays_nothing():
    use = latent_use(Deaf(), IDS, LATENTS, samples=4)
    for name in ("shuffled", "null", "noise"):
        assert use.penalty(name).value == 0
        assert not use.penalty(name).above_zero
        assert [i.value for i in use.penalty_by_ratio(name) if not math.isnan(i.value)] == pytest.approx([0] * 6)


def test_masks_are_shared_by_all_four():
    use = latent_use(Copier(), IDS, LATENTS, samples=3)
    for other in use.false.values():
        np.testing.assert_array_equal(other.text.count_NK, use.true.text.count_NK)


@pytest.mark.parametrize("n", [2, 3, 50])
def test_derangement_moves_everything_and_loses_nothing(n):
    moved = derangement(n, seed=n)
    assert (moved != torch.arange(n)).all()
    assert sorted(moved.tolist()) == list(range(n))
    assert derangement(50, seed=1).tolist() != derangement(50, seed=2).tolist()


def test_noise_has_the_latents_mean_and_covariance():
    g = torch.Generator().manual_seed(0)
    mix = torch.randn(4, 4, generator=g)
    x = torch.randn(20000, 4, generator=g) @ mix + 3
    noise = matched_noise(x)
    torch.testing.assert_close(noise.mean(0), x.mean(0), atol=0.1, rtol=0)
    torch.testing.assert_close(noise.T.cov(), x.T.cov(), atol=0.15, rtol=0.05)
    assert noise.dtype == x.dtype
    few = matched_noise(x[:2])
    assert torch.isfinite(few).all(), "fewer texts than dimensions"


def test_posterior_goes_through_whitening():
    torch.manual_seed(0)
    config = MaskedDiffusionConfig(
        vocab_size=9, mask_token_id=8, max_position_embeddings=6, dim=8, layers=1, heads=2, ffn_dim=8,
        conditioning="adaln", latent_dim=8, bottleneck=3,
    )  # fmt: skip
    model = MaskedDiffusionModel(config).eval()
    model.latent.whiten.mean_Z.fill_(1.0)
    mu, logvar = model.posterior(LATENTS)
    torch.testing.assert_close(mu, model.latent.bottleneck.mu(LATENTS - 1))
    use = latent_use(model, IDS, LATENTS, samples=2)
    assert use.posterior.units == 3
    torch.testing.assert_close(torch.tensor(use.posterior.kl_nats), torch.from_numpy(use.true.kl_N).mean().float())
    assert use.false["null"].kl_N.tolist() == [0] * 8, "an unconditional row sends nothing through the bottleneck"
    assert UniformDenoiser().posterior(LATENTS) is None


def test_posterior_numbers():
    found = measure_posterior(torch.tensor([[100.0, 0.0], [-100.0, 0.0]]), torch.zeros(2, 2))
    assert (found.units, found.active_units) == (2, 1)
    assert found.kl_nats == pytest.approx(5000)
    assert found.mutual_information_nats == pytest.approx(found.ceiling_nats) == pytest.approx(math.log(2))


def test_wrong_use_is_named():
    with pytest.raises(UsageError, match="takes no latent"):
        latent_use(UniformDenoiser(), IDS, LATENTS)
    with pytest.raises(UsageError, match="at least 2"):
        latent_use(Copier(), IDS[:1], LATENTS[:1])
