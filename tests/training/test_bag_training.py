"""The bag of words in a run: where it starts, what is logged of it, and noise on the vector that only training sees."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tiny_training import history, run, settings, steps_with, write_texts
from unmask.core.errors import UsageError
from unmask.models.text_model import load_native
from unmask.training.masked import prepare
from unmask.training.masked_diffusion_trainer import MaskedDiffusionTrainer
from unmask.training.recipe import parse

VECTOR = dict(task="reconstruction", conditioning="adaln", latent_tokens=2, condition_dropout=0.2)
BAG = dict(VECTOR, bag_of_words=8)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("data"))


def test_a_fresh_bag_knows_the_shares_of_the_texts(texts, tmp_path):
    prepared = prepare(parse(settings(texts, tmp_path, **BAG)), say=lambda _: None)
    net = prepared.model.denoiser
    count = np.zeros(net.vocab_size)
    for row in range(len(prepared.train)):
        one = prepared.train[row]
        words = set(one["input_ids"][: int(one["length"])].tolist()) - {net.mask_id, net.pad_id, net.eos_id}
        count[sorted(words)] += 1
    total = len(prepared.train)
    wanted = torch.from_numpy(np.log((count + 0.5) / (total - count + 0.5))).float()
    torch.testing.assert_close(net.bag.prior_V.detach(), wanted)


def test_its_figures_are_logged_and_rank_checkpoints(texts, tmp_path):
    more = dict(BAG, max_steps=40, eval_steps=20, save_steps=20, eval_on_start=True, eval_texts=36)
    model = run(texts, tmp_path, metric_for_best_model="bag_loss", learning_rate=0.03, **more)
    assert steps_with(tmp_path, "bag_recall30")[:3] == [1, 2, 3]
    held_out = [entry["eval_bag_loss"] for entry in history(tmp_path) if "eval_bag_loss" in entry]
    assert len(held_out) == 3 and held_out[2] < held_out[1] < 0.95 * held_out[0]
    assert all(0 <= e["eval_bag_recall30"] <= 1 for e in history(tmp_path) if "eval_bag_recall30" in e)
    assert model.card.scores["eval_bag_loss"] == min(held_out[1:])
    # a run that goes on from these weights has their bag
    again = run(texts, tmp_path / "again", start_from=str(tmp_path), bag_weight=0.7, **VECTOR)
    assert again.denoiser.config.bag_of_words == 8 and "eval_bag_loss" in again.card.scores


def test_a_weight_for_a_bag_that_the_start_lacks_is_refused(texts, tmp_path):
    run(texts, tmp_path / "plain", **VECTOR)
    assert load_native(tmp_path / "plain").denoiser.bag is None
    with pytest.raises(UsageError, match="bag_weight=0.5 has no effect: .*plain.* has no bag_of_words"):
        run(texts, tmp_path / "on", start_from=str(tmp_path / "plain"), bag_weight=0.5, **VECTOR)


def test_a_weight_of_nothing_leaves_the_prior_alone(texts, tmp_path):
    first = prepare(parse(settings(texts, tmp_path / "a", **BAG)), say=lambda _: None).model.denoiser.bag.prior_V
    still, moved = (
        run(texts, tmp_path / name, weight_decay=0.0, bag_weight=weight, **BAG).denoiser.bag.prior_V
        for name, weight in (("a", 0.0), ("b", 0.5))
    )
    assert torch.equal(still, first) and not torch.allclose(moved, first)


def test_noise_on_the_vector_has_the_norm_asked_for():
    step = SimpleNamespace(args=SimpleNamespace(latent_noise=0.3, seed=5), state=SimpleNamespace(global_step=7))
    latent = torch.randn(64, 384, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 65)[:, None]
    noisy = MaskedDiffusionTrainer._noisy(step, latent, (0, 64))
    share = (noisy - latent).norm(dim=1) / latent.norm(dim=1)
    assert float(share.mean()) == pytest.approx(0.3, rel=0.02) and float(share.std()) < 0.02
    torch.testing.assert_close(MaskedDiffusionTrainer._noisy(step, latent[16:32], (16, 64)), noisy[16:32])
    step.args.latent_noise = 0.0
    assert MaskedDiffusionTrainer._noisy(step, latent, (0, 64)) is latent


def test_evaluation_sees_no_noise(texts, tmp_path):
    found = []
    for sigma in (0.0, 3.0):
        run(texts, tmp_path / str(sigma), latent_noise=sigma, eval_on_start=True, **VECTOR)
        log = history(tmp_path / str(sigma))
        found.append((next(e["eval_loss"] for e in log if "eval_loss" in e), [e["loss"] for e in log if "loss" in e]))
    assert found[0][0] == found[1][0] and found[0][1] != found[1][1]
