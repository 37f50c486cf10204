"""Training on texts alone: a row's loss is its own, lengths are learned, and nothing is written behind a text."""

import json
import math

import pytest
import torch

import unmask
from tiny_training import history, run, settings, write_texts
from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.diagnosis.faults.low_mask_training import LowMaskTraining
from unmask.diagnosis.faults.untrained_padding import UntrainedPadding
from unmask.diagnosis.native import NativeSubject
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskingProcess
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.training.checkpoint import last_checkpoint
from unmask.training.recipe import parse

Z = 4


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Texts of 1 to 9 words."""
    folder = tmp_path_factory.mktemp("texts")
    words = write_texts(folder).read_text(encoding="utf-8").split("\n")
    lines = [" ".join(words[i : i + 1 + i % 3]) for i in range(len(words))]
    path = folder / "ragged.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["plain", "adaln", "cross", "self_conditioning"])
def test_a_row_has_the_loss_that_it_has_alone(kind):
    torch.manual_seed(0)
    shape = dict(vocab_size=30, max_position_embeddings=16, dim=16, layers=2, heads=2, ffn_dim=32, length_model=True)
    latent = dict(conditioning=kind, latent_dim=Z, latent_tokens=2, time_embedding=True)
    more = {"plain": {}, "self_conditioning": {"self_conditioning": True}}.get(kind, latent)
    net = MaskedDiffusionModel(MaskedDiffusionConfig(**shape, **more)).eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.3)
    ids, length = torch.randint(3, 30, (5, 16)), torch.tensor([3, 16, 1, 9, 8])
    vector = torch.randn(5, Z)
    valid = torch.arange(16) < length[:, None]
    batch = MaskingProcess().corrupt(ids.masked_fill(~valid, 0), 2, torch.Generator().manual_seed(1), valid)
    cond = Condition.of(vector) if net.conditional else None

    def losses(rows, width):
        part = type(batch)(*(getattr(batch, n)[rows] for n in batch.__dataclass_fields__))
        cut = {n: getattr(part, n)[:, :width] for n in ("x_BL", "clean_BL", "masked_BL")}
        part = type(batch)(**{**part.__dict__, **cut})
        some = None if cond is None else cond[rows]
        return token_losses(net, part, some, valid_BL=valid[rows, :width], weighting="nelbo")

    together = losses(slice(0, 5), 16)
    for i, n in enumerate(length.tolist()):
        alone = losses(slice(i, i + 1), n)
        torch.testing.assert_close(together.row_sum()[i], alone.row_sum()[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(together.length_nats_B[i], alone.length_nats_B[0])
        torch.testing.assert_close(together.row_nelbo()[i], alone.row_nelbo()[0], rtol=1e-5, atol=1e-5)


def test_lengths_are_learned_with_the_words(texts, tmp_path):
    """The trained network's nats of a length end below those of a uniform one, and its loss falls."""
    model = run(texts, tmp_path, length_model=True, length=24, max_steps=30, save_steps=30, eval_steps=30)
    log = history(tmp_path)
    nats = [entry["eval_length_nats"] for entry in log if "eval_length_nats" in entry]
    assert nats and 0 < nats[-1] < math.log(24) - 0.2
    loss = [entry["loss"] for entry in log if "loss" in entry]
    assert loss[-1] < loss[0]
    assert model.denoiser.models_length and model.card.recipe["length_model"]


def test_a_run_that_goes_on_trains_the_same(texts, tmp_path):
    short = dict(length_model=True, length=24, load_best_model_at_end=False)
    whole = run(texts, tmp_path / "a", **short)
    stopped = tmp_path / "b"
    with pytest.raises(RuntimeError, match="stopped"):
        run(texts, stopped, probes=_stop_at(3), **{**short, "eval_steps": 1})
    assert last_checkpoint(stopped) is not None
    again = run(texts, stopped, **{**short, "eval_steps": 1})
    for name, p in whole.denoiser.named_parameters():
        torch.testing.assert_close(again.denoiser.get_parameter(name), p, rtol=0, atol=0, msg=name)


def _stop_at(number):
    def probe(net, step):
        if step == number:
            raise RuntimeError("stopped")
        return {"generation": float(step)}, []

    return lambda prepared: [probe]


def test_weights_of_padding_have_no_effect(texts, tmp_path):
    with pytest.raises(UsageError, match="pad_weight=0.5 has no effect"):
        parse(settings(texts, tmp_path, length_model=True, pad_weight=0.5))


def test_a_start_says_whether_lengths_are_drawn(texts, tmp_path):
    run(texts, tmp_path / "a", length_model=True, length=24)
    on = dict(start_from=str(tmp_path / "a"), length=24)
    assert run(texts, tmp_path / "b", **on).denoiser.models_length
    with pytest.raises(UsageError, match="length_model=False does not go with start_from"):
        run(texts, tmp_path / "c", length_model=False, **on)
    with pytest.raises(UsageError, match="pad_weight=0.5 has no effect"):
        run(texts, tmp_path / "d", pad_weight=0.5, **on)


def test_what_is_trained_is_sampled_scored_and_diagnosed(texts, tmp_path):
    run(texts, tmp_path / "m", length_model=True, length=24, max_steps=10)
    model = unmask.load(tmp_path / "m")
    out = unmask.sample(model, n=6, seed=1)
    assert len(out.texts) == 6 and len({len(t) for t in out.texts}) > 1
    scores = unmask.evaluate(model, texts=8, judge=None)
    assert 0 < scores.metrics["length_nats_per_text"] < 2 * math.log(24)
    assert scores.metrics["nelbo_nats_per_token"] < 3 * math.log(290)
    page = scores.save(tmp_path / "scores")
    said = json.loads((page.parent / "metrics.json").read_text(encoding="utf-8"))
    assert "length_nats_per_text" in said["metrics"]
    verdict = unmask.diagnose(model)
    found = {f.check: f.status for f in verdict.findings}
    assert found["length"] != "not_run" and found["mask_mass"] == "pass"


def test_a_fault_of_padding_needs_padding(texts, tmp_path):
    run(texts, tmp_path / "m", length_model=True, length=24, max_steps=2, save_steps=2, eval_steps=2)
    subject = unmask.load(tmp_path / "m").subject()
    with pytest.raises(UsageError, match="writes its padding"):
        UntrainedPadding(steps=1).inject(subject)
    deaf = LowMaskTraining(steps=2).inject(subject)
    assert deaf.denoiser.models_length if isinstance(deaf, NativeSubject) else deaf.inner.denoiser.models_length
