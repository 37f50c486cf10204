"""One optimiser step is the same step however its rows are split into micro-batches.

AdamW hides a factor in the gradient, so the gradient's norm is compared, and the weights that plain SGD gives.
"""

import json

import pytest
import torch

from unmask.training.checkpoint import last_checkpoint
from unmask.training.recipe import parse
from unmask.training.run import train

WORDS = "light darkness water earth heaven day night field seed tree".split()
SPLITS = ((16, 1), (8, 2), (4, 4))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Texts of unequal lengths: a mean of the micro-batches' means would not be the mean of the step."""
    g = torch.Generator().manual_seed(0)
    counts = torch.randint(1, 9, (300,), generator=g).tolist()
    lines = [" ".join(WORDS[int(i)] for i in torch.randint(0, 10, (count,), generator=g)) for count in counts]
    path = tmp_path_factory.mktemp("data") / "texts.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def recipe(texts, folder, rows, micros, **changed):
    settings = dict(
        data=str(texts), task="unconditional", conditioning="none", vocab_size=300, length=16, dim=16, layers=1,
        heads=2, ffn_dim=32, validation=0.2, max_steps=3, save_steps=3, eval_steps=3, logging_steps=1, warmup_steps=0,
        bf16=False, report_to="none", disable_tqdm=True, probe_texts=0, eval_texts=8, output_dir=str(folder),
        optim="sgd", learning_rate=0.5, lr_scheduler_type="constant", weight_decay=0.0, max_grad_norm=1e6, ema=0.0,
        per_device_train_batch_size=rows, gradient_accumulation_steps=micros,
    )  # fmt: skip
    return parse({name: value for name, value in {**settings, **changed}.items() if value is not ...})


def logged(folder):
    history = json.loads(open(f"{last_checkpoint(folder)}/trainer_state.json", encoding="utf-8").read())["log_history"]
    return [entry["grad_norm"] for entry in history if "grad_norm" in entry]


def run(texts, folder, rows, micros, **changed):
    model = train(recipe(texts, folder, rows, micros, **changed), say=lambda _: None)
    return logged(folder), torch.cat([p.flatten() for p in model.denoiser.parameters()]).detach()


# fmt: off
KINDS = {
    "maskgit": {},
    "llada": {"weighting": "llada", "pad_weight": 0.0},
    "nelbo": {"weighting": "nelbo", "pad_weight": 1.0},
    "deep supervision": {"loops": 2, "deep_supervision": True},
    "vector": {
        "task": "reconstruction", "conditioning": "adaln", "latent_tokens": 2, "bottleneck": 8, "vib_beta": 0.1,
        "whiten": "center", "self_conditioning": True,
    },
    "bag of words": {
        "task": "reconstruction", "conditioning": "adaln", "latent_tokens": 2, "bag_of_words": 6, "latent_noise": 0.2,
        "condition_dropout": 0.3, "bottleneck": 8, "bag_weight": 1.0,
    },
    "lengths": {"length_model": True},
    "lengths, nelbo": {"length_model": True, "weighting": "nelbo"},
    "lengths of a vector": {
        "length_model": True, "task": "reconstruction", "conditioning": "adaln", "latent_tokens": 2, "bottleneck": 8,
        "whiten": "center", "self_conditioning": True, "bag_of_words": 6, "latent_noise": 0.2,
    },
    "tidal": {"family": "tidal", "length": 48, "max_block": 16},
    "causal baseline": {"family": "tidal", "length": 48, "attention": "causal", "writes": "tokens"},
}
# fmt: on


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_the_same_however_a_step_is_split(texts, tmp_path, kind):
    found = [run(texts, tmp_path / f"{rows}x{micros}", rows, micros, **KINDS[kind]) for rows, micros in SPLITS]
    norms, weights = found[0]
    assert len(norms) == 3 and min(norms) > 1e-3
    for other_norms, other_weights in found[1:]:
        assert other_norms == pytest.approx(norms, rel=1e-4)
        torch.testing.assert_close(other_weights, weights, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["lengths", "lengths of a vector"])
def test_gradient_of_a_step_by_tokens_is_that_of_any_split(texts, tmp_path, kind):
    found = []
    for micros in (1, 2, 4):
        given = dict(KINDS[kind], max_tokens=128 // micros, per_device_train_batch_size=...)
        found.append(run(texts, tmp_path / str(micros), 0, micros, **given))
    norms, weights = found[0]
    assert len(norms) == 3 and min(norms) > 1e-3
    for other_norms, other_weights in found[1:]:
        assert other_norms == pytest.approx(norms, rel=1e-4)
        torch.testing.assert_close(other_weights, weights, rtol=1e-4, atol=1e-6)


def test_one_process_with_several_gpus_trains_on_one(texts, tmp_path):
    """Trainer's DataParallel would give each replica the whole batch."""
    settings = recipe(texts, tmp_path / "a", 8, 2)
    assert settings.train.n_gpu <= 1
    settings.train._n_gpu = 2  # what a machine with two GPUs says
    model = train(settings, say=lambda _: None)
    expected, _ = run(texts, tmp_path / "b", 8, 2)
    assert logged(tmp_path / "a") == expected and settings.train.train_batch_size == 8
    assert model.denoiser is not None


def test_a_clipped_gradient_is_clipped_after_accumulation(texts, tmp_path):
    """With a limit below every norm, a step of SGD moves the weights by learning rate times the limit."""
    short = dict(max_grad_norm=0.1, max_steps=1, save_steps=1, eval_steps=1)
    for rows, micros in SPLITS:
        _, after = run(texts, tmp_path / f"{rows}x{micros}", rows, micros, **short)
        _, twice = run(texts, tmp_path / f"{rows}x{micros}b", rows, micros, learning_rate=1.0, **short)
        assert float((twice - after).norm()) == pytest.approx(0.5 * 0.1, rel=1e-3)
