"""Parts of a run that Trainer takes from outside and that our own trainer bears only some forms of."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from accelerate.utils import TorchDynamoPlugin
from torch.utils.checkpoint import checkpoint
from transformers.trainer_pt_utils import AcceleratorConfig

from unmask.core.errors import UsageError


def check_parts(args: Any) -> None:
    """Refuse forms of sharding, of accelerate's settings and of debugging that were not built for.

    Args:
        args: :class:`~unmask.training.arguments.TrainArguments`, complete.

    Raises:
        UsageError: one of them.
    """
    _sharding(args)
    _accelerate(args)
    _checkpointing(args)
    _compiling(args)
    if str(args.include_num_input_tokens_seen) not in ("all", "no"):
        raise UsageError(
            f"include_num_input_tokens_seen={args.include_num_input_tokens_seen!r} must be 'all' (canvas positions, "
            "padding included) or 'no'"
        )
    odd = [str(getattr(option, "value", option)) for option in args.debug]
    if [name for name in odd if name != "underflow_overflow"]:
        raise UsageError(f"debug={' '.join(odd)!r} must be 'underflow_overflow': TPUs were not tried")


def _sharding(args: Any) -> None:
    if not args.fsdp:
        return
    made = args.fsdp_plugin_args
    if made is None or made.get("fsdp_version") != 2:
        raise UsageError("fsdp_config must say version: 2, and not xla: nothing else was tried")
    if args.world_size < 2:
        raise UsageError("fsdp needs several processes: start with torchrun or `accelerate launch`")


def _accelerate(args: Any) -> None:
    """Only what leaves the rows of a step alone."""
    default, given = AcceleratorConfig(), args.accelerator_config
    odd = [
        name
        for name in (
            "split_batches",
            "dispatch_batches",
            "even_batches",
            "use_seedable_sampler",
            "use_configured_state",
        )
        if getattr(given, name, None) != getattr(default, name, None)
    ]
    odd += [
        f"gradient_accumulation_kwargs: {k}" for k in given.gradient_accumulation_kwargs or {} if k != "sync_each_batch"
    ]
    if odd:
        raise UsageError(
            f"accelerator_config may set non_blocking and gradient_accumulation_kwargs: sync_each_batch, not {odd[0]}: "
            "which rows a step has is our sampler's affair"
        )


def _checkpointing(args: Any) -> None:
    given = args.gradient_checkpointing_kwargs or {}
    known = [n for n, p in inspect.signature(checkpoint).parameters.items() if p.kind is p.KEYWORD_ONLY]
    known = sorted({*known, "use_reentrant", "preserve_rng_state"} - {"context_fn"})
    for name in given:
        if name not in known:
            raise UsageError(f"gradient_checkpointing_kwargs may set {', '.join(known)}, not {name}")


def _compiling(args: Any) -> None:
    """torch.compile looks at its backend and mode when it wraps a network, not only when that runs."""
    if not args.torch_compile:
        return
    backend, mode = args.torch_compile_backend, args.torch_compile_mode
    try:
        TorchDynamoPlugin(backend=backend, mode=mode)
        torch.compile(torch.nn.Identity(), backend=backend, mode=mode)
    except Exception as error:  # each part of PyTorch has errors of its own
        why = " ".join(str(error).split())
        raise UsageError(f"torch_compile_backend={backend!r}, torch_compile_mode={mode!r} do not fit: {why}") from error
