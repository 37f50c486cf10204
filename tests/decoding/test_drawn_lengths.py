"""Lengths are drawn before the text, by the model's own law, and a row is the same alone and in any batch."""

import pytest
import torch

import unmask
from tiny_training import run, write_texts
from unmask.core.errors import UsageError
from unmask.core.sampling import drawn_lengths
from unmask.core.sampling_config import SamplingConfig

L = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    run(write_texts(folder), folder / "m", length_model=True, length=L, max_steps=6, over_long="truncate")
    model = unmask.load(folder / "m")
    with torch.no_grad():
        share = torch.tensor([0.3, 0.0, 0.0, 0.1, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.35])
        model.denoiser.lengths.prior_L.copy_((share + 1e-9).log())
    return model


def drawn(model, rows, temperature, seed):
    return drawn_lengths(model.length_log_probs(None, rows), temperature, seed)


def tokens(out):
    return (out.sequences != out.model.denoiser.pad_id).sum(1)


def test_lengths_follow_the_law_of_the_model(model):
    """Chi-square of 3 degrees of freedom: 0.1 % point 16.3."""
    found = torch.bincount(drawn(model, 4000, 1.0, 7), minlength=L + 1)[1:]
    expected = 4000 * model.denoiser.length_log_probs(None, 1)[0].detach().exp()
    some = expected > 1
    assert found.sum() == 4000 == found[some].sum()
    assert float(((found - expected) ** 2 / expected)[some].sum()) < 16.3


def test_temperature_zero_takes_the_most_probable(model):
    assert tokens(unmask.sample(model, n=3, temperature=0.0)).tolist() == [12, 12, 12]
    sharp = drawn(model, 500, 0.3, 1)
    assert (sharp == 12).sum() > (drawn(model, 500, 1.0, 1) == 12).sum() > 0


def test_a_row_is_the_same_in_any_batch(model):
    whole = unmask.sample(model, n=9, seed=3, batch_size=9, precision="fp32")
    parts = unmask.sample(model, n=9, seed=3, batch_size=2, precision="fp32")
    few = unmask.sample(model, n=4, seed=3, precision="fp32")
    traced = unmask.sample(model, n=9, seed=3, batch_size=2, precision="fp32", trace=True)
    assert whole.texts == parts.texts == traced.texts and whole.texts[:4] == few.texts
    assert len(set(tokens(whole).tolist())) > 1
    assert not bool((whole.sequences == model.denoiser.mask_id).any())
    assert tokens(unmask.sample(model, n=9, seed=4)).tolist() != tokens(whole).tolist()


def test_a_length_that_is_given_is_written(model):
    assert tokens(unmask.sample(model, n=3, length=7)).tolist() == [7, 7, 7]
    with pytest.raises(UsageError, match="length=13"):
        unmask.sample(model, n=1, length=13)


@pytest.mark.parametrize(
    "settings",
    [
        {"order": "random", "quota": "linear", "steps": 4},
        {"order": "entropy", "quota": "entropy_bound", "steps": None},
        {"block_length": 3, "steps": 8},
        {"sampler": "ancestral", "steps": 8},
        {"sampler": "first_hitting", "steps": None},
        {"sampler": "ancestral", "remasking": "cap", "steps": 8},
        {"block_length": 4, "cache": "prefix", "steps": 8},
        {"repetition_penalty": 1.3},
    ],
    ids=str,
)
def test_every_way_of_writing_keeps_the_length(model, settings):
    plain = drawn(model, 6, 1.0, 2)
    out = unmask.sample(model, n=6, seed=2, **settings)
    assert tokens(out).tolist() == plain.tolist()
    assert not bool((out.sequences == model.denoiser.mask_id).any())


def test_a_canvas_may_be_ragged(model):
    d = model.denoiser
    x, valid = model.denoiser.ragged_canvas(torch.tensor([2, 5]))
    assert x.tolist() == [[d.mask_id] * 2 + [d.pad_id] * 3, [d.mask_id] * 5] and valid.sum(1).tolist() == [2, 5]
    assert tokens(unmask.sample(model, canvas=x)).tolist() == [2, 5]


def test_an_end_that_is_never_written_cannot_stop(model):
    with pytest.raises(UsageError, match="stop_at_eos=True"):
        unmask.sample(model, n=1, stop_at_eos=True)


def test_the_plan_is_kept_with_the_folder(model, tmp_path):
    model.config = SamplingConfig(length=4)
    try:
        model.save(tmp_path)
    finally:
        model.config = SamplingConfig()
    assert tokens(unmask.sample(unmask.load(tmp_path), n=2)).tolist() == [4, 4]
