"""What becomes of every setting of Hugging Face's TrainingArguments: it is honoured, or refused before any work.

The table holds the fields of every supported version of transformers (5.2 to 5.23) and those of earlier ones that
people still write. ``python -m unmask.training.settings`` prints docs/training_settings.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import transformers
from transformers import TrainingArguments

from unmask.core.errors import UsageError

#: what each setting does here; words of Hugging Face's own documentation are not repeated
HONOURED = {
    "output_dir": "the run folder: checkpoints, logs and the trained model",
    "per_device_train_batch_size": "rows of a process and micro-batch",
    "gradient_accumulation_steps": "micro-batches of a step; how a step is split changes rounding only",
    "num_train_epochs": "passes over the data, instead of max_steps (both: refused; a flag beats the recipe's other)",
    "max_steps": "optimiser steps; 1000 where neither it nor num_train_epochs is given, -1 to count epochs",
    "learning_rate": "peak learning rate",
    "lr_scheduler_type": "any schedule of transformers; on a plateau, the direction is the metric's",
    "lr_scheduler_kwargs": "a mapping; refused where the schedule takes none, or not these",
    "warmup_steps": "steps, or below 1 a share of them; refused where the schedule has no warm-up",
    "optim": "an optimiser of transformers that is installed, with optimizer=adamw; no GaLore, APOLLO, LOMO or "
    "schedule-free one",
    "optim_args": "name=value,name=value or a mapping; refused where the optimiser reads none",
    "weight_decay": "as in Trainer; optimizer=muon decays all weights",
    "adam_beta1": "refused where the optimiser has none",
    "adam_beta2": "refused where the optimiser has none",
    "adam_epsilon": "refused where the optimiser has none",
    "max_grad_norm": "0 clips nothing",
    "bf16": "another word for precision=bf16 (true) or precision=fp32 (false)",
    "tf32": "on GPUs that have it",
    "gradient_checkpointing": "blocks are computed again in the backward pass",
    "gradient_checkpointing_kwargs": "a mapping; needs gradient_checkpointing",
    "activation_checkpointing": "the name of gradient_checkpointing in newer transformers",
    "activation_checkpointing_kwargs": "a mapping; needs activation_checkpointing",
    "torch_compile": "slow: the number of masked rows changes from step to step, and is compiled for again",
    "torch_compile_backend": "turns torch_compile on",
    "torch_compile_mode": "turns torch_compile on",
    "torch_empty_cache_steps": "steps between emptyings of the accelerator's cache",
    "logging_strategy": "an epoch is a pass over the rows",
    "logging_steps": "steps, or below 1 a share of them; needs logging_strategy=steps",
    "logging_first_step": "the first step's loss is logged as well",
    "log_on_each_node": "which processes log_level is of",
    "log_level": "of transformers' own messages",
    "log_level_replica": "of transformers' own messages in the other processes",
    "include_num_input_tokens_seen": "true or 'all': canvas positions; padding is counted, so not 'non_padding'",
    "disable_tqdm": "lines instead of a progress bar",
    "report_to": "a name, names with commas, a list, 'all' or 'none'; each must exist and be installed",
    "run_name": "refused where no logger reads it",
    "project": "needs report_to=trackio",
    "trackio_space_id": "needs report_to=trackio",
    "trackio_bucket_id": "needs report_to=trackio",
    "trackio_static_space_id": "needs report_to=trackio",
    "hub_private_repo": "needs report_to=trackio, whose Space it is about: nothing else is uploaded",
    "eval_strategy": "an epoch is a pass over the rows; unless 'no', the last weights are evaluated as well",
    "eval_steps": "steps, or below 1 a share of them; needs eval_strategy=steps",
    "eval_delay": "steps or epochs without evaluation; must leave one",
    "eval_on_start": "evaluates the weights that training starts from",
    "save_strategy": "an epoch is a pass over the rows; 'best' saves a checkpoint when it is the best so far",
    "save_steps": "steps, or below 1 a share of them; needs save_strategy=steps",
    "save_total_limit": "checkpoints kept beside the best one, at least 2",
    "load_best_model_at_end": "the best checkpoint's weights are the trained model; false: the last ones",
    "metric_for_best_model": "a figure that the run reports; another is refused with the list of them",
    "greater_is_better": "follows from the metric; refused where it would keep the worst checkpoint",
    "resume_from_checkpoint": "a checkpoint of this recipe, in its own folder or another; true: the setting resume",
    "full_determinism": "PyTorch's deterministic kernels, or an error",
    "seed": "of the weights, the rows' order and the noise",
    "data_seed": "of the rows' order, where it is to differ from seed",
    "use_cpu": "trains on the CPU though there is an accelerator",
    "accelerator_config": "a mapping of non_blocking and gradient_accumulation_kwargs: sync_each_batch",
    "dataloader_drop_last": "nothing to drop: every batch is full, the next pass goes on in the last one's place",
    "dataloader_num_workers": "loader processes",
    "dataloader_pin_memory": "of use with a GPU only",
    "dataloader_persistent_workers": "needs dataloader_num_workers",
    "dataloader_prefetch_factor": "needs dataloader_num_workers",
    "dataloader_multiprocessing_context": "needs dataloader_num_workers",
    "ddp_find_unused_parameters": "in a launch of several processes",
    "ddp_bucket_cap_mb": "in a launch of several processes",
    "ddp_broadcast_buffers": "in a launch of several processes",
    "ddp_static_graph": "in a launch of several processes",
    "ddp_backend": "in a launch of several processes",
    "ddp_timeout": "in a launch of several processes",
    "fsdp": "of version 2, in a launch of several processes",
    "fsdp_config": "a mapping or a JSON file; needs fsdp",
    "debug": "'underflow_overflow'",
    "skip_memory_metrics": "false: memory used is logged at the end",
}

_OWN_LOSS = "the loss is ours, a weighted likelihood of masked tokens"
_OWN_EVALUATION = "held-out figures are computed by our own evaluation, which has no part that it could change"
_OWN_ORDER = "the order of the rows is a function of (seed, place), so that a run that stopped goes on exactly"
_UPLOAD = "nothing is uploaded while training; upload the run folder when it is done (`hf upload`)"
_SCRIPTS = "a switch of Hugging Face's example scripts: `unmask train` trains, and eval_strategy says when to evaluate"

#: why a setting is refused when it has another value than its default
REFUSED = {
    "label_smoothing_factor": f"{_OWN_LOSS}, and bounds of a smoothed one say nothing",
    "neftune_noise_alpha": "all noise here is a function of (seed, row, step, position), and NEFTune's is not",
    "average_tokens_across_devices": "a step's loss is always a mean over all processes",
    "label_names": f"{_OWN_LOSS}: there are no labels",
    "fp16": "its loss scaling overflows on purpose, which the guard on bad batches would skip and count: use bf16",
    "bf16_full_eval": _OWN_EVALUATION,
    "fp16_full_eval": _OWN_EVALUATION,
    "per_device_eval_batch_size": "held-out losses are computed 64 rows at a time in every run, so that runs compare",
    "prediction_loss_only": _OWN_EVALUATION,
    "eval_do_concat_batches": _OWN_EVALUATION,
    "eval_use_gather_object": _OWN_EVALUATION,
    "eval_accumulation_steps": _OWN_EVALUATION,
    "include_for_metrics": _OWN_EVALUATION,
    "batch_eval_metrics": _OWN_EVALUATION,
    "optim_target_modules": "only GaLore and APOLLO read it, and those were not tried on our networks",
    "use_liger_kernel": "its kernels are written for other networks than ours",
    "liger_kernel_config": "its kernels are written for other networks than ours",
    "use_cache": "training keeps no keys and values",
    "auto_find_batch_size": (
        "the rows of a step must not depend on the memory at hand: split a step with gradient_accumulation_steps"
    ),
    "logging_nan_inf_filter": "a batch whose loss is not finite is skipped, kept in a file and counted instead",
    "save_only_model": "a checkpoint without the optimiser's state could not be gone on from exactly",
    "save_on_each_node": "all processes must see one run folder",
    "enable_jit_checkpoint": (
        "a run that is stopped goes on from its last checkpoint, which is always whole: lower save_steps"
    ),
    "restore_callback_states_from_checkpoint": "no callback here has a state",
    "ignore_data_skip": _OWN_ORDER,
    "train_sampling_strategy": _OWN_ORDER,
    "length_column_name": _OWN_ORDER,
    "dataloader_in_order": _OWN_ORDER,
    "remove_unused_columns": "latents and lengths are no arguments of the network's forward pass, and needed",
    "push_to_hub": _UPLOAD,
    "hub_token": _UPLOAD,
    "hub_model_id": _UPLOAD,
    "hub_strategy": _UPLOAD,
    "hub_always_push": _UPLOAD,
    "hub_revision": _UPLOAD,
    "parallelism_config": "networks are trained whole or sharded (fsdp); nothing else was tried",
    "deepspeed": "not supported: use fsdp",
    "do_train": _SCRIPTS,
    "do_eval": _SCRIPTS,
    "do_predict": _SCRIPTS,
    "warmup_ratio": "write the share as warmup_steps, such as warmup_steps=0.1",
    "logging_dir": "set the environment variable TENSORBOARD_LOGGING_DIR",
    "local_rank": "start several processes with torchrun or `accelerate launch`",
}

#: refused whatever the value: their default is no description of what happens
_ALWAYS = ("do_train", "do_eval", "do_predict")

#: settings of transformers before 5.2, and of its other trainers: what to write today
GONE = {
    "evaluation_strategy": "it is called eval_strategy",
    "per_gpu_train_batch_size": "it is called per_device_train_batch_size",
    "per_gpu_eval_batch_size": REFUSED["per_device_eval_batch_size"],
    "no_cuda": "it is called use_cpu",
    "use_mps_device": "an accelerator is used where there is one",
    "overwrite_output_dir": "`--resume false` starts over",
    "save_safetensors": "weights are always written as safetensors",
    "group_by_length": _OWN_ORDER,
    "past_index": "training keeps no keys and values",
    "include_inputs_for_metrics": _OWN_EVALUATION,
    "include_tokens_per_second": "it is part of include_num_input_tokens_seen",
    "predict_with_generate": "probe_texts says how many texts are written at each evaluation",
    "generation_max_length": "texts are written at the canvas' length",
    "generation_num_beams": "probe_order and probe_steps say how texts are written",
    "jit_mode_eval": _OWN_EVALUATION,
    "use_ipex": "plain PyTorch is used",
    "torchdynamo": "it is called torch_compile_backend",
    "fp16_backend": REFUSED["fp16"],
    "fp16_opt_level": REFUSED["fp16"],
    "half_precision_backend": REFUSED["fp16"],
    "tpu_num_cores": "TPUs were not tried",
    "mp_parameters": "networks are trained whole or sharded (fsdp); nothing else was tried",
    "split_batches": "it is part of accelerator_config",
    "dispatch_batches": "it is part of accelerator_config",
    "fsdp_min_num_params": "it is part of fsdp_config",
    "fsdp_transformer_layer_cls_to_wrap": "it is part of fsdp_config",
    "push_to_hub_model_id": _UPLOAD,
    "push_to_hub_organization": _UPLOAD,
    "push_to_hub_token": _UPLOAD,
    "ray_scope": "there is no search over settings: start one run each",
}


def fields() -> dict[str, Any]:
    """The settings of the installed transformers by name."""
    return {f.name: f for f in dataclasses.fields(TrainingArguments) if f.init}


def unsupported(name: str) -> UsageError | None:
    """The error for a name that is no setting here though transformers has or had it; None for any other name."""
    if name in GONE or (name in REFUSED and name not in fields()):
        return UsageError(f"{name} is no setting here: {GONE.get(name) or REFUSED[name]}")
    if name in HONOURED and name not in fields():
        return UsageError(f"{name} needs another transformers than the {transformers.__version__} that is installed")
    return None


def refuse(args: Any) -> None:
    """Refuse what would have no effect, or not the one that it names.

    Args:
        args: the arguments as given, before Trainer's own defaults are filled in.

    Raises:
        UsageError: a setting of :data:`REFUSED`, or one that nobody has looked at yet, is not at its default.
    """
    known = fields()
    for f in dataclasses.fields(args):
        value = getattr(args, f.name, None)
        if f.name not in known or f.name in HONOURED or value == default_of(f):
            continue
        raise _refusal(f.name, value)


def refuse_given(given: Mapping[str, Any]) -> None:
    """Refuse settings by their names, before their values are looked at.

    Args:
        given: names and values as they were given.

    Raises:
        UsageError: one that is refused whatever its value, or that has any though its default is none.
    """
    known = fields()
    for name, value in given.items():
        anything = name in REFUSED and name in known and default_of(known[name]) in (None, [])
        nothing = value in (None, [], {}) or str(value).lower() in ("none", "null")
        if name in _ALWAYS or (anything and not nothing):
            raise _refusal(name, value)


def default_of(f: dataclasses.Field[Any]) -> Any:
    """The default of a dataclass field."""
    return f.default if f.default_factory is dataclasses.MISSING else f.default_factory()


def _refusal(name: str, value: Any) -> UsageError:
    # a token is nobody's business
    shown = name if name.endswith("token") else f"{name}={value!r:.60}"
    why = REFUSED.get(name, f"transformers {transformers.__version__} has it, and unmask does not know it yet")
    return UsageError(f"{shown} cannot be honoured: {why}")


def page() -> str:
    """docs/training_settings.md."""
    lines = [
        "# Every setting of Hugging Face's Trainer",
        "",
        "A recipe's keys and the flags of `unmask train` are the settings of "
        "[arguments.py](../src/unmask/training/arguments.py) and those of transformers' "
        "[TrainingArguments](https://huggingface.co/docs/transformers/main_classes/trainer). A setting is honoured, or "
        "refused in one sentence before the corpus is read; none is ignored. A setting that another one makes useless "
        "(`muon_lr` with `optimizer: adamw`) is refused too, unless a flag switches off what the recipe's file says. "
        "Written by `python -m unmask.training.settings` from the table that the code goes by; a test walks through "
        "every field of the transformers that is installed.",
        "",
        "## Honoured",
        "",
        "| setting | here |",
        "|---|---|",
        *(f"| `{name}` | {what} |" for name, what in HONOURED.items()),
        "",
        "## Refused, unless at its default",
        "",
        "| setting | why, and what to do instead |",
        "|---|---|",
        *(f"| `{name}` | {why} |" for name, why in REFUSED.items()),
        "",
        "## Of earlier versions, and of other trainers",
        "",
        "| setting | today |",
        "|---|---|",
        *(f"| `{name}` | {why} |" for name, why in GONE.items()),
        "",
        "## How a value is written",
        "",
        "In a recipe, mappings and lists are YAML's (`lr_scheduler_kwargs: {min_lr_rate: 0.1}`, `report_to: [wandb, "
        "tensorboard]`), `null` is no value, and `1e-4` is a number. On the command line a mapping is JSON "
        "(`--lr_scheduler_kwargs '{\"min_lr_rate\": 0.1}'`), names of a list stand behind one another or have commas "
        "between them, `none` is no value, and a switch needs none (`--bf16`, `--no_bf16`). A flag beats the recipe.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
