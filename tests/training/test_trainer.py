"""Runs that must be equal are equal: resumed, split into micro-batches; bad batches are skipped; EMA is an average."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from unmask.core.condition import Condition
from unmask.core.errors import CheckpointError, UnmaskError, UsageError
from unmask.diffusion.process import MaskingProcess
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.text_model import load_native
from unmask.training.ema import Ema
from unmask.training.masked_diffusion_trainer import MaskedDiffusionTrainer, last_checkpoint
from unmask.training.recipe import parse
from unmask.training.run import train
from unmask.training.scores import held_out_scores

WORDS = "light darkness water earth heaven day night field seed tree".split()


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    g = torch.Generator().manual_seed(0)
    lines = [" ".join(WORDS[int(i)] for i in torch.randint(0, 10, (5,), generator=g)) for _ in range(260)]
    path = tmp_path_factory.mktemp("data") / "texts.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def recipe(texts, folder, **changed):
    settings = dict(
        data=str(texts), task="unconditional", conditioning="none", vocab_size=300, length=12, dim=16, layers=1,
        heads=2, ffn_dim=32, validation=0.2, max_steps=6, save_steps=3, eval_steps=3, logging_steps=1, warmup_steps=2,
        per_device_train_batch_size=8, bf16=False, report_to="none", disable_tqdm=True, probe_texts=4, eval_texts=16,
        output_dir=str(folder), learning_rate=0.01, ema=0.9,
    )  # fmt: skip
    return parse({**settings, **changed})


def losses(folder, name="trainer_state.json"):
    newest = last_checkpoint(folder)
    history = json.loads(open(f"{newest}/{name}", encoding="utf-8").read())["log_history"]
    return [(h["step"], h["loss"]) for h in history if "loss" in h]


class Stop(Exception):
    pass


def interrupt_at(step):
    def make(prepared):
        def probe(net, now):
            if now == step:
                raise Stop
            return {}, []

        return [probe]

    return make


def test_a_run_that_stopped_goes_on_exactly(texts, tmp_path):
    whole = train(recipe(texts, tmp_path / "whole"), say=lambda _: None)
    with pytest.raises(Stop):
        train(recipe(texts, tmp_path / "cut"), interrupt_at(6), say=lambda _: None)
    assert last_checkpoint(tmp_path / "cut").endswith("checkpoint-3")
    said = []
    again = train(recipe(texts, tmp_path / "cut"), say=said.append)
    assert any("resuming" in line for line in said)
    assert losses(tmp_path / "whole") == losses(tmp_path / "cut")
    for (name, a), b in zip(whole.denoiser.state_dict().items(), again.denoiser.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_half_written_checkpoints_are_never_seen(texts, tmp_path, monkeypatch):
    """A process killed while it writes leaves the staging folder, not a checkpoint."""

    def die(self, folder, averages=None):
        raise Stop

    monkeypatch.setattr(Ema, "save", die)
    with pytest.raises(Stop):
        train(recipe(texts, tmp_path / "run"), say=lambda _: None)
    assert last_checkpoint(tmp_path / "run") is None
    monkeypatch.undo()
    train(recipe(texts, tmp_path / "run"), say=lambda _: None)
    assert not (tmp_path / "run" / ".staging" / "checkpoint-3").exists()


def test_micro_batches_follow_the_curve_of_the_whole_batch(tmp_path):
    """The noise is the optimiser step's, so how the step is split changes rounding only (texts of one length here)."""
    g = torch.Generator().manual_seed(1)
    lines = [" ".join("abcdefghij"[int(i)] for i in torch.randint(0, 10, (6,), generator=g)) for _ in range(200)]
    texts = tmp_path / "letters.txt"
    texts.write_text("\n".join(lines), encoding="utf-8")
    common = dict(weighting="llada", pad_weight=1.0, vocab_size=280)
    train(recipe(texts, tmp_path / "whole", **common), say=lambda _: None)
    train(
        recipe(texts, tmp_path / "split", per_device_train_batch_size=4, gradient_accumulation_steps=2, **common),
        say=lambda _: None,
    )
    gaps = [abs(x[1] - y[1]) for x, y in zip(losses(tmp_path / "split"), losses(tmp_path / "whole"), strict=True)]
    assert max(gaps) < 2e-4 and sum(gaps) / len(gaps) < 1e-4


def test_saved_run_loads_to_its_average(texts, tmp_path):
    model = train(recipe(texts, tmp_path / "run"), say=lambda _: None)
    again = load_native(tmp_path / "run")
    x = again.tokenize(["light water tree"])
    x[:, 1] = again.denoiser.mask_id
    assert torch.equal(model.denoiser.logits(x), again.denoiser.logits(x))
    assert again.decode(again.tokenize(["light water tree"])) == ["light water tree"]
    best = json.loads((tmp_path / "run/checkpoint-6/trainer_state.json").read_text())["best_global_step"]
    average = load_file(str(tmp_path / f"run/checkpoint-{best}/ema.safetensors"))
    assert torch.equal(average["embed.weight"], again.denoiser.embed.weight)
    assert not list((tmp_path / "run").rglob("training_args.bin"))
    assert again.card.scores["eval_nelbo"] > 0 and again.card.recipe["dim"] == 16


def best_at(step):
    return lambda prepared: [lambda net, now: ({"generation": 1.0 if now == step else 0.01 * now}, [])]


def is_average_of(folder, step, model):
    average = load_file(str(folder / f"checkpoint-{step}/ema.safetensors"))
    return torch.equal(average["embed.weight"], model.denoiser.embed.weight)


def test_the_best_step_is_what_is_saved(texts, tmp_path):
    """Also where it falls between two checkpoints, and where a finished run was moved and is opened again."""
    flags = dict(eval_steps=1, save_steps=3)
    model = train(recipe(texts, tmp_path / "run", **flags), best_at(2), say=lambda _: None)
    assert is_average_of(tmp_path / "run", 2, model) and not is_average_of(tmp_path / "run", 6, model)
    assert model.card.scores["eval_generation"] == 1.0
    (tmp_path / "run").rename(tmp_path / "moved")
    again = train(recipe(texts, tmp_path / "moved", **flags), best_at(2), say=lambda _: None)
    assert is_average_of(tmp_path / "moved", 2, again) and again.card.scores["eval_generation"] == 1.0


def test_the_last_weights_are_ranked_too(texts, tmp_path):
    model = train(recipe(texts, tmp_path / "run", eval_steps=4, save_steps=4), best_at(6), say=lambda _: None)
    assert is_average_of(tmp_path / "run", 6, model) and model.card.scores["eval_generation"] == 1.0
    flags = dict(load_best_model_at_end=False)
    model = train(recipe(texts, tmp_path / "last", **flags), best_at(3), say=lambda _: None)
    assert is_average_of(tmp_path / "last", 6, model) and model.card.scores["eval_generation"] == 0.06


def test_another_recipe_does_not_take_over_a_run_folder(texts, tmp_path):
    train(recipe(texts, tmp_path / "run"), say=lambda _: None)
    with pytest.raises(UsageError, match="holds a run with dim=16 and this recipe has dim=32"):
        train(recipe(texts, tmp_path / "run", dim=32), say=lambda _: None)


def test_a_bad_batch_is_skipped_counted_and_kept(texts, tmp_path, monkeypatch):
    real = MaskedDiffusionTrainer.compute_loss
    seen = []

    def poisoned(self, model, inputs, **kw):
        loss = real(self, model, inputs, **kw)
        if self.state.global_step == 1:
            seen.append({k: v.detach().clone() for k, v in self.model.state_dict().items()})
            return loss * float("nan")
        if self.state.global_step == 2:
            after = self.model.state_dict()
            assert all(torch.equal(after[k], v) for k, v in seen[0].items())  # nothing moved, momentum included
        return loss

    monkeypatch.setattr(MaskedDiffusionTrainer, "compute_loss", poisoned)
    train(recipe(texts, tmp_path / "run"), say=lambda _: None)
    history = json.loads((tmp_path / "run/checkpoint-6/trainer_state.json").read_text())["log_history"]
    assert max(h.get("skipped_batches", 0) for h in history) == 1
    kept = load_file(str(tmp_path / "run/bad_batch_step1.safetensors"))
    assert kept["input_ids"].shape == (8, 12)
    assert all(torch.isfinite(v).all() for v in load_native(tmp_path / "run").denoiser.state_dict().values())


def test_training_stops_when_nothing_is_finite(texts, tmp_path, monkeypatch):
    real = MaskedDiffusionTrainer.compute_loss
    monkeypatch.setattr(
        MaskedDiffusionTrainer, "compute_loss", lambda s, m, i, **kw: real(s, m, i, **kw) * float("inf")
    )
    with pytest.raises(UnmaskError, match="3 times in a row, last at step 2; that batch is in bad_batch_step2"):
        train(recipe(texts, tmp_path / "run", bad_batches=3), say=lambda _: None)


def test_muon_trains_saves_and_resumes(texts, tmp_path):
    whole = train(recipe(texts, tmp_path / "whole", optimizer="muon"), say=lambda _: None)
    with pytest.raises(Stop):
        train(recipe(texts, tmp_path / "cut", optimizer="muon"), interrupt_at(6), say=lambda _: None)
    again = train(recipe(texts, tmp_path / "cut", optimizer="muon"), say=lambda _: None)
    assert torch.equal(whole.denoiser.embed.weight, again.denoiser.embed.weight)
    curve = losses(tmp_path / "whole")
    assert curve == losses(tmp_path / "cut") and curve[-1][1] < curve[0][1]


def test_ema_by_hand_and_foreign_averages_are_refused(tmp_path):
    net = torch.nn.Linear(2, 1, bias=False)
    ema = Ema(net, 0.5)
    start = net.weight.detach().clone()
    with torch.no_grad():
        net.weight += 1
    ema.update(net)  # warm-up: (1 + 1) / (10 + 1) = 2/11 of the old is kept
    want = start * 2 / 11 + (start + 1) * 9 / 11
    torch.testing.assert_close(ema.average["weight"], want)
    with ema.applied(net):
        torch.testing.assert_close(net.weight.detach(), want)
    torch.testing.assert_close(net.weight.detach(), start + 1)
    ema.save(tmp_path)
    other = Ema(torch.nn.Linear(2, 1, bias=True), 0.5)
    with pytest.raises(CheckpointError, match="another model"):
        other.load(tmp_path)
    with pytest.raises(CheckpointError, match="holds no ema"):
        ema.load(tmp_path / "nowhere")


def test_too_few_kept_checkpoints_are_refused(texts, tmp_path):
    with pytest.raises(UsageError, match="save_total_limit"):
        recipe(texts, tmp_path, save_total_limit=1)
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="cannot be written"):
        train(recipe(texts, tmp_path / "file"), say=lambda _: None)


def test_evenly_spread_rows():
    from unmask.data.text import evenly

    assert evenly(10, 4) == [0, 2, 5, 7] and evenly(3, 9) == [0, 1, 2]


def test_held_out_bounds_leave_the_bottleneck_out_and_name_it():
    """A zero head costs the logarithm of what can be written, whatever its vector; the KL is a figure of its own."""
    torch.manual_seed(0)
    net = MaskedDiffusionModel(
        MaskedDiffusionConfig(
            vocab_size=20, max_position_embeddings=6, dim=16, layers=1, heads=2, ffn_dim=16, conditioning="adaln",
            latent_dim=5, bottleneck=4,
        )
    ).eval()  # fmt: skip
    net.embed.weight.data.zero_()
    net.head_bias.data.zero_()
    ids, latents = torch.randint(3, 20, (8, 6)), torch.randn(8, 5)
    rows = [{"input_ids": i, "length": torch.tensor(6), "latent": z} for i, z in zip(ids, latents, strict=True)]
    stack = lambda part: {k: torch.stack([row[k] for row in part]) for k in part[0]}  # noqa: E731
    scores = held_out_scores(net, rows, stack, MaskingProcess(), SimpleNamespace(eval_texts=8, seed=0))
    logits = net.logits(torch.full((1, 6), net.mask_id), cond=Condition.of(latents[:1]))
    each = -float(logits.detach().log_softmax(-1).max())
    assert scores["nelbo"] == pytest.approx(each, rel=1e-5) and scores["loss"] == pytest.approx(each, rel=1e-5)
    kl = net.body(ids, Condition.of(latents)).kl_BZ
    assert scores["kl_nats"] == pytest.approx(float(kl.sum(1).mean()), rel=1e-5) and scores["kl_nats"] > 0
