"""Settings of Trainer that are said to be honoured are: seen in the run, not in the arguments."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback

from tiny_training import generation, history, run, settings, steps_with, write_texts
from unmask.core.errors import UsageError
from unmask.diffusion.process import MaskingProcess
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.text_model import load_native
from unmask.models.weights import read_weights
from unmask.training.arguments import TrainArguments
from unmask.training.base_trainer import BaseTrainer
from unmask.training.figures import reported
from unmask.training.masked_diffusion_trainer import MaskedDiffusionTrainer
from unmask.training.optimizer import muon_and_adamw
from unmask.training.passes import EvenSteps, completed
from unmask.training.ranking import greater_is_better
from unmask.training.recipe import parse
from unmask.training.scores import held_out_scores


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture
def trainers(monkeypatch):
    """The trainers that were made."""
    made = []
    real = BaseTrainer.__init__

    def noting(self, *args, **kwargs):
        real(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(BaseTrainer, "__init__", noting)
    return made


# -- how long, and when ---------------------------------------------------------------------------------------------
def test_epochs_are_passes_over_the_rows(texts, tmp_path):
    by_epoch = dict.fromkeys(("eval_strategy", "save_strategy", "logging_strategy"), "epoch")
    no_steps = dict.fromkeys(("max_steps", "eval_steps", "save_steps", "logging_steps"), ...)
    run(texts, tmp_path / "run", num_train_epochs=2.5, **by_epoch, **no_steps)  # 100 rows, 10 a step
    assert steps_with(tmp_path / "run", "loss") == [10, 20, 25]
    assert steps_with(tmp_path / "run", "eval_loss") == [10, 20, 25]
    assert {p.name for p in (tmp_path / "run").glob("checkpoint-*")} >= {"checkpoint-20", "checkpoint-25"}
    assert history(tmp_path / "run")[-1]["epoch"] == 2.5


@pytest.mark.parametrize(("rows", "step_rows"), [(100, 10), (338, 16), (7, 16), (5, 5), (33, 10)])
def test_each_pass_ends_at_one_step(rows, step_rows):
    steps = EvenSteps(rows, step_rows)
    ends = [completed(step, steps) for step in range(1, 200)]
    passes = [end for end in ends if end]
    assert passes == sorted(set(passes))
    if step_rows <= rows:
        assert passes == list(range(1, len(passes) + 1))
    assert all(ends[steps.of(k) - 1] == k for k in passes)


def test_the_best_is_kept_between_two_saves(texts, tmp_path):
    run(
        texts, tmp_path / "run", generation(lambda step: -abs(step - 6)), max_steps=8, eval_steps=3, save_steps=4
    )  # fmt: skip
    assert {p.name for p in (tmp_path / "run").glob("checkpoint-*")} >= {"checkpoint-6", "checkpoint-8"}
    saved = read_weights(tmp_path / "run/checkpoint-6")
    assert all(torch.equal(saved[n], v) for n, v in load_native(tmp_path / "run").denoiser.state_dict().items())


@pytest.mark.parametrize("terminal", [True, False])
def test_without_a_terminal_a_line_an_interval(texts, tmp_path, monkeypatch, capsys, terminal):
    monkeypatch.setattr("transformers.training_args.logger.getEffectiveLevel", lambda: 0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    run(texts, tmp_path / "run", disable_tqdm=..., logging_steps=2)
    said = capsys.readouterr()
    assert ("\r" in said.err) == terminal
    trained = [line.split(":")[0] for line in said.out.splitlines() if "grad_norm" in line]
    assert trained == ["step 2 of 4", "step 4 of 4"] or terminal


def test_evaluation_may_start_late_and_may_start_first(texts, tmp_path):
    run(texts, tmp_path / "late", max_steps=6, eval_delay=3)
    assert steps_with(tmp_path / "late", "eval_loss") == [4, 6]
    run(texts, tmp_path / "first", eval_on_start=True)
    assert steps_with(tmp_path / "first", "eval_loss") == [0, 2, 4]


def test_a_delay_longer_than_the_epochs(texts, tmp_path):
    with pytest.raises(UsageError, match="eval_delay=30 leaves no evaluation in a run of 10 steps"):
        run(texts, tmp_path / "run", max_steps=..., num_train_epochs=1, eval_delay=30)


def test_shares_of_a_run(texts, tmp_path):
    shares = dict(max_steps=10, logging_steps=0.2, eval_steps=0.5, save_steps=0.5)
    run(texts, tmp_path / "run", **shares)
    assert steps_with(tmp_path / "run", "loss") == [2, 4, 6, 8, 10]
    assert steps_with(tmp_path / "run", "eval_loss") == [5, 10]


def test_the_interval_of_a_resumed_run_is_the_one_it_is_given(texts, tmp_path):
    class Stop(Exception):
        pass

    def stop(step):
        if step == 4:
            raise Stop
        return 0.1 * step

    with pytest.raises(Stop):
        run(texts, tmp_path / "run", generation(stop), max_steps=6, logging_steps=2)
    run(texts, tmp_path / "run", generation(lambda step: 0.1 * step), max_steps=6, logging_steps=1)
    assert steps_with(tmp_path / "run", "loss") == [2, 3, 4, 5, 6]


def test_first_step_and_no_step_are_logged(texts, tmp_path):
    run(texts, tmp_path / "first", logging_steps=3, logging_first_step=True)
    assert steps_with(tmp_path / "first", "loss") == [1, 3]
    run(texts, tmp_path / "no", logging_strategy="no", logging_steps=...)
    assert steps_with(tmp_path / "no", "loss") == [] and steps_with(tmp_path / "no", "eval_loss") == [2, 4]


# -- the best checkpoint --------------------------------------------------------------------------------------------
def test_the_smallest_loss_is_kept_though_it_rises(texts, tmp_path):
    """Steps that are far too long: the held-out loss is best at the first evaluation, and the words at another."""
    diverging = dict(optim="sgd", learning_rate=10.0, lr_scheduler_type="constant", max_grad_norm=0, max_steps=8)
    model = run(
        texts, tmp_path / "run", generation(lambda step: -abs(step - 6)), metric_for_best_model="loss", **diverging
    )
    losses = {h["step"]: h["eval_loss"] for h in history(tmp_path / "run") if "eval_loss" in h}
    best = min(losses, key=losses.get)
    assert losses[best] < losses[8] and best not in (6, 8)
    assert model.card.scores["eval_loss"] == losses[best]
    kept = load_native(tmp_path / "run").denoiser.state_dict()
    saved = read_weights(tmp_path / f"run/checkpoint-{best}")
    assert all(torch.equal(kept[name], value) for name, value in saved.items())


@pytest.mark.parametrize(
    ("metric", "greater", "best"), [("generation", ..., 4), ("generation", True, 4), ("eval_generation", ..., 4)]
)
def test_the_greatest_generation_is_kept(texts, tmp_path, metric, greater, best):
    changed = dict(metric_for_best_model=metric, greater_is_better=greater, max_steps=8)
    model = run(texts, tmp_path / "run", generation(lambda step: -abs(step - 4)), **changed)
    assert model.card.scores["eval_generation"] == -abs(best - 4)


def test_only_the_best_is_saved_if_that_is_asked_for(texts, tmp_path):
    changed = dict(save_strategy="best", save_steps=..., max_steps=8)
    model = run(texts, tmp_path / "run", generation(lambda step: -abs(step - 4)), **changed)
    assert sorted(p.name for p in (tmp_path / "run").glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    assert model.card.scores["eval_generation"] == 0


def test_no_checkpoint_at_all(texts, tmp_path):
    run(texts, tmp_path / "run", save_strategy="no", save_steps=..., load_best_model_at_end=False)
    assert not list((tmp_path / "run").glob("checkpoint-*")) and load_native(tmp_path / "run")


@pytest.mark.parametrize("given", [True, "true"])
def test_a_direction_that_keeps_the_worst_is_refused(texts, tmp_path, given):
    with pytest.raises(
        UsageError, match="greater_is_better=True would keep the worst checkpoint: of nelbo, smaller is"
    ):
        parse(settings(texts, tmp_path, metric_for_best_model="eval_nelbo", greater_is_better=given))


@pytest.mark.parametrize("metric", ["accuracy", "eval_los", "rouge", "d_null", "kl_nats", "bits_per_character"])
def test_a_metric_that_will_not_be_there_is_refused(texts, tmp_path, metric):
    with pytest.raises(
        UsageError, match=f"metric_for_best_model='{metric}' is no figure of this run: .*reports generation"
    ):
        parse(settings(texts, tmp_path / "run", metric_for_best_model=metric))


def test_the_figures_that_are_promised_are_reported(texts, tmp_path):
    run(texts, tmp_path / "free", eval_texts=30)
    logged = {name.removeprefix("eval_") for name in history(tmp_path / "free")[-1]} - {"epoch", "step"}
    assert logged == set(reported(parse(settings(texts, tmp_path)).model, "unconditional"))
    tidal = dict(family="tidal", max_block=6, length=24, blocks="word", heads=2)
    run(texts, tmp_path / "tidal", **tidal)
    logged = {name.removeprefix("eval_") for name in history(tmp_path / "tidal")[-1]} - {"epoch", "step"}
    assert logged == set(reported(parse(settings(texts, tmp_path, **tidal)).model, "unconditional"))


@pytest.mark.parametrize(
    ("name", "greater"),
    [("loss", False), ("eval_loss_r25", False), ("nelbo", False), ("perplexity", False), ("kl_nats", False),
     ("bits_per_character", False), ("accuracy_r50", True), ("generation", True), ("eval_generation", True)],
)  # fmt: skip
def test_directions_follow_from_names(name, greater):
    assert greater_is_better(name) is greater
    assert TrainArguments(output_dir="x", report_to="none", metric_for_best_model=name).greater_is_better is greater


def test_a_missing_figure_is_named_at_the_first_evaluation(texts, tmp_path, monkeypatch):
    real = MaskedDiffusionTrainer.held_out
    monkeypatch.setattr(
        MaskedDiffusionTrainer, "held_out", lambda s, n: {k: v for k, v in real(s, n).items() if k != "loss_r25"}
    )
    with pytest.raises(
        UsageError, match="metric_for_best_model='loss_r25' is no figure of this evaluation: generation"
    ):
        run(texts, tmp_path / "run", metric_for_best_model="loss_r25")


# -- optimiser and schedule -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("optim", "kind"), [("sgd", "SGD"), ("adagrad", "Adagrad"), ("rmsprop", "RMSprop"), ("adafactor", "Adafactor")]
)
def test_the_optimiser_is_the_one_asked_for(texts, tmp_path, trainers, optim, kind):
    run(texts, tmp_path / "run", optim=optim, max_steps=1)
    assert type(trainers[0].optimizer.optimizer).__name__ == kind


def test_betas_and_epsilon_reach_both_optimisers(texts, tmp_path, trainers):
    run(texts, tmp_path / "run", adam_beta1=0.7, adam_beta2=0.8, adam_epsilon=1e-3, weight_decay=0.3, max_steps=1)
    group = trainers[0].optimizer.param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.7, 0.8), 1e-3, 0.3)
    args = parse(settings(texts, tmp_path, optimizer="muon", adam_beta1=0.7, adam_beta2=0.8, adam_epsilon=1e-3)).train
    group = muon_and_adamw(trainers[0].model, args).adamw.param_groups[0]
    assert (group["betas"], group["eps"]) == ((0.7, 0.8), 1e-3)


def test_a_schedule_takes_its_settings(texts, tmp_path):
    changed = dict(lr_scheduler_type="cosine_with_min_lr", lr_scheduler_kwargs={"min_lr": "5e-3"}, warmup_steps=0)
    run(texts, tmp_path / "run", **changed)
    rates = [h["learning_rate"] for h in history(tmp_path / "run") if "learning_rate" in h]
    assert rates[0] == 0.01 and 0.005 < rates[-1] < 0.006


def test_a_plateau_of_the_greater_metric_lowers_the_rate(texts, tmp_path):
    plateau = dict(
        lr_scheduler_type="reduce_lr_on_plateau", lr_scheduler_kwargs={"patience": 0, "factor": 0.1},
        max_steps=6, eval_steps=1, save_steps=6,
    )  # fmt: skip

    def last_rate(by_step, name):
        run(texts, tmp_path / name, generation(by_step), **plateau)
        return [h["learning_rate"] for h in history(tmp_path / name) if "learning_rate" in h][-1]

    assert last_rate(lambda step: float(step), "better") == 0.01
    assert last_rate(lambda step: 1.0, "flat") < 0.001


def test_epochs_set_the_length_of_the_schedule(texts, tmp_path):
    changed = dict(max_steps=..., num_train_epochs=1, warmup_steps=0.2, lr_scheduler_type="linear")
    run(texts, tmp_path / "run", **changed)
    rates = [h["learning_rate"] for h in history(tmp_path / "run") if "learning_rate" in h]
    assert len(rates) == 10 and rates[2] == 0.01 and rates[-1] == pytest.approx(0.01 / 8)


def test_no_clipping(texts, tmp_path):
    run(texts, tmp_path / "clipped", max_grad_norm=1e-3, optim="sgd", learning_rate=1.0, max_steps=1, warmup_steps=0)
    run(texts, tmp_path / "whole", max_grad_norm=0, optim="sgd", learning_rate=1.0, max_steps=1, warmup_steps=0)
    clipped, whole = (load_native(tmp_path / n).denoiser.embed.weight for n in ("clipped", "whole"))
    assert (clipped - whole).abs().max() > 1e-3


# -- the rest -------------------------------------------------------------------------------------------------------
def test_seeds_of_the_rows_and_of_the_noise(texts, tmp_path):
    losses = {}
    for name, seeds in {"a": {}, "again": {}, "rows": {"data_seed": 3}, "all": {"seed": 3}}.items():
        run(texts, tmp_path / name, max_steps=2, **seeds)
        losses[name] = tuple(h["loss"] for h in history(tmp_path / name) if "loss" in h)
    assert losses["a"] == losses["again"] and len(set(losses.values())) == 3


def test_tokens_are_counted(texts, tmp_path):
    for word in ("all", "true", True):
        run(texts, tmp_path / str(word), include_num_input_tokens_seen=word)
        assert history(tmp_path / str(word))[-1]["num_input_tokens_seen"] == 4 * 10 * 10  # steps x rows x length


def test_memory_is_logged_at_the_end(texts, tmp_path, trainers):
    run(texts, tmp_path / "run", skip_memory_metrics=False)
    assert any("train_mem_cpu_alloc_delta" in entry for entry in trainers[0].state.log_history)


def test_deterministic_kernels(texts, tmp_path):
    try:
        run(texts, tmp_path / "run", full_determinism=True, max_steps=1)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_blocks_are_computed_again(texts, tmp_path, monkeypatch):
    from unmask.models import network

    seen = []
    real = network.checkpoint
    monkeypatch.setattr(network, "checkpoint", lambda *a, **k: seen.append(k) or real(*a, **k))
    run(
        texts, tmp_path / "run", gradient_checkpointing=True, gradient_checkpointing_kwargs={"use_reentrant": False}
    )  # fmt: skip
    assert seen and all(k["use_reentrant"] is False for k in seen)


def test_a_compiled_network_trains_as_the_plain_one(texts, tmp_path, trainers):
    run(texts, tmp_path / "plain", max_steps=2)
    run(texts, tmp_path / "compiled", max_steps=2, torch_compile=True, torch_compile_backend="eager")
    assert trainers[1].accelerator.state.dynamo_plugin.backend.value.lower() == "eager"
    plain, compiled = (load_native(tmp_path / n).denoiser.embed.weight for n in ("plain", "compiled"))
    torch.testing.assert_close(plain, compiled, rtol=1e-4, atol=1e-5)


def test_loader_processes(texts, tmp_path, trainers):
    workers = dict(dataloader_num_workers=1, dataloader_prefetch_factor=3, dataloader_persistent_workers=True)
    run(texts, tmp_path / "run", max_steps=2, **workers)
    loader = trainers[0].get_train_dataloader()
    assert (loader.num_workers, loader.prefetch_factor, loader.persistent_workers) == (1, 3, True)
    run(texts, tmp_path / "none", max_steps=2)
    first, second = ([h["loss"] for h in history(tmp_path / n) if "loss" in h] for n in ("run", "none"))
    assert first == second


def test_the_cache_is_emptied_by_steps(texts, tmp_path, monkeypatch):
    emptied = []
    monkeypatch.setattr("transformers.trainer.clear_device_cache", lambda *a, **k: emptied.append(1))
    run(texts, tmp_path / "run", max_steps=4, torch_empty_cache_steps=2)
    assert len(emptied) == 2


def test_overflows_are_looked_for(texts, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("transformers.trainer.DebugUnderflowOverflow", seen.append)
    run(texts, tmp_path / "run", max_steps=1, debug="underflow_overflow")
    assert len(seen) == 1


def test_a_step_is_always_full_and_no_row_is_dropped(texts, tmp_path, trainers):
    """What dataloader_drop_last asks for holds with and without it."""
    sizes = []

    class Sizes(TrainerCallback):
        def on_step_end(self, *_, **__):
            sizes.append(len(trainers[0]._last_batch["input_ids"]))

    real = MaskedDiffusionTrainer.train
    try:
        MaskedDiffusionTrainer.train = lambda self, **k: (self.add_callback(Sizes()), real(self, **k))[1]
        run(texts, tmp_path / "run", per_device_train_batch_size=30, max_steps=5, dataloader_drop_last=True)
    finally:
        MaskedDiffusionTrainer.train = real
    assert sizes == [30] * 5
    rows = list(trainers[0]._get_train_sampler())
    assert sorted(rows[:100]) == list(range(100)) and len(rows) == 150


def test_report_goes_where_it_is_asked_to(texts, tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    run(texts, tmp_path / "run", report_to="tensorboard", max_steps=1)
    assert list((tmp_path / "logs").rglob("events*"))
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["dim"] == "8"


def test_a_conditional_run_reports_what_is_promised():
    torch.manual_seed(0)
    shape = dict(vocab_size=20, max_position_embeddings=6, dim=16, layers=1, heads=2, ffn_dim=16)
    net = MaskedDiffusionModel(MaskedDiffusionConfig(**shape, conditioning="adaln", latent_dim=5, bottleneck=4)).eval()
    rows = [
        {"input_ids": torch.randint(3, 20, (6,)), "length": torch.tensor(6), "latent": torch.randn(5)}
        for _ in range(40)
    ]
    stack = lambda part: {k: torch.stack([row[k] for row in part]) for k in part[0]}  # noqa: E731
    found = held_out_scores(net, rows, stack, MaskingProcess(), SimpleNamespace(eval_texts=40, seed=0))
    given = SimpleNamespace(family="denoiser", bottleneck=4, start_from=None, length_model=False, bag_of_words=0)
    assert {*found, "generation"} == set(reported(given, "reconstruction"))
