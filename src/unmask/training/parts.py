"""Parts of a run that Trainer takes from outside and that our own trainer bears only some forms of."""

from __future__ import annotations

from typing import Any

from transformers.trainer_pt_utils import AcceleratorConfig

from unmask.core.errors import WrongUse


def check_parts(args: Any) -> None:
    """Refuse forms of sharding, of accelerate's settings and of debugging that were not built for.

    Args:
        args: :class:`~unmask.training.arguments.TrainArguments`, complete.

    Raises:
        WrongUse: one of them.
    """
    _sharding(args)
    _accelerate(args)
    if str(args.include_num_input_tokens_seen) not in ("all", "no"):
        raise WrongUse(
            f"include_num_input_tokens_seen={args.include_num_input_tokens_seen!r} must be 'all' (canvas positions, "
            "padding included) or 'no'"
        )
    odd = [str(getattr(option, "value", option)) for option in args.debug]
    if [name for name in odd if name != "underflow_overflow"]:
        raise WrongUse(f"debug={' '.join(odd)!r} must be 'underflow_overflow': TPUs were not tried")


def _sharding(args: Any) -> None:
    if not args.fsdp:
        return
    made = args.fsdp_plugin_args
    if made is None or made.get("fsdp_version") != 2:
        raise WrongUse("fsdp_config must say version: 2, and not xla: nothing else was tried")
    if args.world_size < 2:
        raise WrongUse(f"fsdp={args.fsdp!r:.60} needs several processes: start with torchrun or `accelerate launch`")


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
        raise WrongUse(
            f"accelerator_config may set non_blocking and gradient_accumulation_kwargs: sync_each_batch, not {odd[0]}: "
            "which rows a step has is our sampler's affair"
        )
