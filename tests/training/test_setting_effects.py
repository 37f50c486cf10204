"""A setting that another one makes useless is refused; one that is given anew by a flag is not missed."""

import inspect

import pytest
import torch
from transformers.integrations import integration_utils

from unmask.core.errors import UsageError
from unmask.training.effect import NEEDS
from unmask.training.loggers import READERS, loggers
from unmask.training.recipe import parse

BASE = dict(data="no_such_corpus.txt", task="unconditional", conditioning="none", output_dir="runs/x")
OFF = dict(eval_strategy="no", load_best_model_at_end=False)


def made(*flags, **given):
    return parse({**BASE, **given}, flags).train


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"muon_lr": 0.5}, "muon_lr=0.5 has no effect: it needs optimizer=muon"),
        ({"schedule": "cosine"}, "schedule=cosine has no effect: it needs estimator=time or grid"),
        ({"vib_beta": 0.2}, "vib_beta=0.2 has no effect: it needs a bottleneck"),
        ({"bag_weight": 0.2}, "bag_weight=0.2 has no effect: it needs a bag_of_words"),
        ({"bag_of_words": 8}, "bag_of_words=8 has no effect: it needs a semantic vector"),
        ({"latent_noise": 0.1}, "latent_noise=0.1 has no effect: it needs a semantic vector"),
        ({"condition_dropout": 0.3}, "condition_dropout=0.3 has no effect: it needs a semantic vector"),
        ({"packed": True}, "packed=True has no effect: it needs family=tidal"),
        ({"family": "tidal", "loops": 2}, "loops=2 has no effect: it needs family=denoiser"),
        ({"family": "tidal", "weighting": "llada"}, "weighting=llada has no effect: it needs a model that fills in"),
        ({"probe_texts": 0, "probe_steps": 5}, "probe_steps=5 has no effect: it needs probe_texts"),
        ({**OFF, "eval_steps": 7}, "eval_steps=7 has no effect: it needs eval_strategy=steps"),
        ({**OFF, "eval_delay": 7}, "eval_delay=7 has no effect: it needs an eval_strategy"),
        ({**OFF, "metric_for_best_model": "loss"}, "metric_for_best_model=loss has no effect"),
        ({"save_strategy": "best", "save_steps": 7}, "save_steps=7 has no effect: it needs save_strategy=steps"),
        ({"logging_strategy": "epoch", "logging_steps": 7}, "logging_steps=7 has no effect"),
        ({"gradient_checkpointing_kwargs": {"use_reentrant": False}}, "it needs gradient_checkpointing"),
        ({"dataloader_persistent_workers": True}, "it needs dataloader_num_workers"),
        ({"dataloader_prefetch_factor": 3}, "dataloader_prefetch_factor.*dataloader_num_workers"),
        ({"run_name": "mine"}, "run_name=mine has no effect: it needs report_to=wandb or"),
        ({"project": "mine"}, "project=mine has no effect: it needs report_to=trackio"),
        ({"fsdp_config": {"version": 2}}, "fsdp_config=.* has no effect without fsdp"),
        ({"adam_beta1": 0.5, "optim": "sgd"}, "adam_beta1=0.5 has no effect with optim='sgd'"),
        ({"optim_args": "x=1"}, "optim_args='x=1' has no effect with optim='adamw_torch"),
        ({"optim_args": {"x": 1}, "optimizer": "muon"}, "optim_args='x=1' has no effect with optimizer='muon'"),
        ({"warmup_steps": 5, "lr_scheduler_type": "constant"}, "warmup_steps=5 has no effect with lr_scheduler_type="),
        ({"lr_scheduler_kwargs": {"a": 1}, "lr_scheduler_type": "constant_with_warmup"}, "which takes none"),
    ],
)  # fmt: skip
def test_useless_settings_say_what_they_need(given, said):
    with pytest.raises(UsageError, match=said):
        parse({**BASE, **given})


def test_nothing_of_what_is_off_may_be_said():
    parse({**BASE, "probe_texts": 0, "show_texts": 0, "condition_dropout": 0.0, "muon_lr": 0.02})


def test_a_flag_may_switch_off_what_the_recipe_tunes():
    found = parse({**BASE, "eval_steps": 250}, ["--eval_strategy", "no", "--load_best_model_at_end", "false"])
    assert "eval_steps" not in found.given and found.train.eval_strategy == "no"
    found = parse({**BASE, "optimizer": "muon", "muon_lr": 0.5}, ["--optimizer", "adamw"])
    assert "muon_lr" not in found.given and found.train.muon_lr == 0.02
    with pytest.raises(UsageError, match="muon_lr=0.5 has no effect"):
        parse({**BASE, "optimizer": "muon"}, ["--optimizer", "adamw", "--muon_lr", "0.5"])
    parse({**BASE, "warmup_steps": 100}, ["--lr_scheduler_type", "constant"])
    parse({**BASE, "adam_beta1": 0.8}, ["--optim", "sgd"])


def test_every_need_names_settings():
    known = {name for part in (parse(BASE).model, parse(BASE).data, parse(BASE).train) for name in vars(part)}
    deciding = {name for need in NEEDS for name in need.by} - {"activation_checkpointing"}
    assert deciding <= known


# -- parts of Trainer -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"optim": "adamw_torch_npu_fused"}, "optim='adamw_torch_npu_fused' cannot be built: .*torch_npu"),
        ({"optim": "lomo"}, "optim='lomo' cannot be honoured: it steps inside the backward pass"),
        ({"optim": "galore_adamw"}, "optim='galore_adamw' cannot be honoured: it was not tried"),
        ({"optim": "schedule_free_sgd"}, "optim='schedule_free_sgd' cannot be honoured"),
        ({"optim": "sgd", "optimizer": "muon"}, "optim='sgd' and optimizer='muon' both name the optimiser"),
        ({"optim": "sgd", "optimizer": "adamw"}, "optim='sgd' and optimizer='adamw' both name the optimiser"),
        ({"optim": "sgd", "optim_args": "momentum"}, "optim_args='momentum' must be name=value"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, r"may set num_cycles, min_lr, min_lr_rate\): One of min_lr"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "does not fit .*num_decay_steps"),
        ({"lr_scheduler_kwargs": {"min_lr": 1e-5}}, "lr_scheduler_type='cosine' with .*may set num_cycles"),
        ({"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": "a"}}, "lr_scheduler_type='polynomial'"),
        ({"lr_scheduler_type": "cosin"}, "cosin is not a valid SchedulerType"),
        ({"torch_compile_backend": "none_such"}, "torch_compile_backend='none_such'.* do not fit"),
        ({"torch_compile_mode": "fastest"}, "torch_compile_mode='fastest' do not fit"),
        ({"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"a": 1}}, "may set .*use_reentrant, not a"),
        ({"accelerator_config": {"split_batches": True}}, "not split_batches"),
        ({"accelerator_config": {"gradient_accumulation_kwargs": {"num_steps": 3}}}, "not gradient_accum"),
        ({"fsdp": "full_shard"}, "fsdp needs several processes"),
        ({"fsdp": True, "fsdp_config": {"version": 1}}, "fsdp_config must say version: 2"),
        ({"debug": "tpu_metrics_debug"}, "debug='tpu_metrics_debug' must be 'underflow_overflow'"),
        ({"include_num_input_tokens_seen": "non_padding"}, "'non_padding' must be 'all'"),
        ({"eval_delay": 2000}, "eval_delay=2000 leaves no evaluation in a run of 1000 steps"),
        ({"load_best_model_at_end": True, "eval_strategy": "no"}, "does not go with eval_strategy=no"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_one_sentence(given, said):
    with pytest.raises(UsageError, match=said) as refused:
        parse({**BASE, **given})
    assert "\n" not in str(refused.value)


def test_an_optimiser_that_reads_its_own_settings_may_have_them(monkeypatch):
    from transformers import trainer_optimizer

    name = parse({**BASE, "optim": "sgd"}).train.optim

    def handler(ctx):
        return torch.optim.SGD, {**ctx.optimizer_kwargs, "momentum": float(ctx.optim_args["momentum"])}

    monkeypatch.setitem(trainer_optimizer._OPTIMIZER_HANDLERS, name, handler)
    assert parse({**BASE, "optim": "sgd", "optim_args": {"momentum": 0.9}}).train.optim_args == "momentum=0.9"
    with pytest.raises(UsageError, match="optim='sgd' with optim_args='momentum=fast' cannot be built"):
        parse({**BASE, "optim": "sgd", "optim_args": "momentum=fast"})


def test_plateau_schedules_know_the_direction():
    plateau = dict(lr_scheduler_type="reduce_lr_on_plateau", warmup_steps=0)
    assert made(**plateau).lr_scheduler_kwargs == {"mode": "max"}  # generation
    assert made(**plateau, metric_for_best_model="loss").lr_scheduler_kwargs == {"mode": "min"}
    assert made(**plateau, lr_scheduler_kwargs={"patience": 1}).lr_scheduler_kwargs == {"patience": 1, "mode": "max"}
    with pytest.raises(UsageError, match="mode='min' does not go with metric_for_best_model='generation'"):
        made(**plateau, lr_scheduler_kwargs={"mode": "min"})


# -- loggers --------------------------------------------------------------------------------------------------------
@pytest.fixture
def here(monkeypatch):
    """Two loggers are installed, a third is not."""
    names = ["tensorboard", "wandb"]
    monkeypatch.setattr("transformers.integrations.get_available_reporting_integrations", lambda: names)

    class Missing:
        def __init__(self):
            raise RuntimeError("MLflowCallback requires mlflow.\n  Run `pip install mlflow`.")

    known = {"tensorboard": object, "wandb": object, "mlflow": Missing, "azure_ml": object}
    monkeypatch.setattr(integration_utils, "INTEGRATION_TO_CALLBACK", known)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("tensorboard", ["tensorboard"]),
        ("wandb,tensorboard", ["wandb", "tensorboard"]),
        ("wandb, tensorboard", ["wandb", "tensorboard"]),
        (["tensorboard", "wandb"], ["tensorboard", "wandb"]),
        (["tensorboard", "tensorboard"], ["tensorboard"]),
        ("all", ["tensorboard", "wandb"]),
        (["all"], ["tensorboard", "wandb"]),
        ("none", []), ("no", []), (False, []), (None, []), ([], []), ("", []), ("azure_ml", ["azure_ml"]),
    ],
)  # fmt: skip
def test_loggers_by_name(here, given, wanted):
    assert loggers(given) == wanted


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("tensorbord", "report_to='tensorbord' is no logger: did you mean 'tensorboard'"),
        ("wandb,tensorbord", "report_to='tensorbord' is no logger"),
        (True, "report_to='True' is no logger"),
        ("all,wandb", "report_to='all' is no logger"),
        ("mlflow", "report_to='mlflow' is not installed: MLflowCallback requires mlflow. Run `pip install mlflow`."),
    ],
)
def test_loggers_that_are_none(here, given, said):
    with pytest.raises(UsageError, match=said):
        loggers(given)


def test_loggers_in_a_recipe_and_on_the_command_line(here):
    assert made(report_to=["wandb", "tensorboard"]).report_to == ["wandb", "tensorboard"]
    assert made(report_to=False).report_to == []  # YAML's no
    assert made("--report_to", "wandb", "tensorboard").report_to == ["wandb", "tensorboard"]
    assert made("--report_to", "wandb,tensorboard", "--run_name", "mine").run_name == "mine"


def test_who_reads_which_setting_is_what_transformers_says():
    for setting, readers in READERS.items():
        reading = {
            name
            for name, kind in integration_utils.INTEGRATION_TO_CALLBACK.items()
            if isinstance(kind, type) and any(f"args.{setting}" in inspect.getsource(c) for c in _own(kind))
        }
        if setting in vars(parse(BASE).train):
            assert reading == set(readers), setting


def _own(kind):
    return [c for c in kind.__mro__ if isinstance(c, type) and c.__module__ == integration_utils.__name__]
