"""The optimiser and the schedule of a run, built once on a stand-in: what does not fit shows before any work."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from transformers import Trainer, get_scheduler
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

from unmask.core.errors import UsageError

#: how finely a schedule sees the time, where a run has minutes instead of steps
TICKS = 1_000_000

#: settings that some optimisers read, and another value of each
_READ_BY_SOME: dict[str, Any] = {
    "adam_beta1": 0.123,
    "adam_beta2": 0.123,
    "adam_epsilon": 0.123,
    "optim_args": None,
}

#: parts of the names of those that are refused, and why
_UNFIT = {
    "lomo": "it steps inside the backward pass, before a bad batch could be skipped",
    "schedule_free": "the weights that it trains are not those to be evaluated",
    "galore": "it was not tried on our networks",
    "apollo": "it was not tried on our networks",
}


def check_optimizer(train: Any, given: Collection[str]) -> None:
    """Build the optimiser once, and see which settings it reads.

    Args:
        train: :class:`~unmask.training.arguments.TrainArguments`.
        given: the names of the settings that were given.

    Raises:
        UsageError: it cannot be built, or a given setting has no effect on it.
    """
    name = train.optim.value
    if train.optimizer == "muon":
        if "optim" in given and name not in ("adamw_torch", "adamw_torch_fused"):
            raise UsageError(f"optim={name!r} and optimizer='muon' both name the optimiser: leave one out")
        if train.optim_args:
            raise UsageError(f"optim_args={train.optim_args!r} has no effect with optimizer='muon'")
        return
    if "optimizer" in given and "optim" in given and "adamw" not in name:
        raise UsageError(f"optim={name!r} and optimizer='adamw' both name the optimiser: leave one out")
    for part, why in _UNFIT.items():
        if part in name:
            raise UsageError(f"optim={name!r} cannot be honoured: {why}")
    if train.optim_args and not all("=" in part for part in train.optim_args.split(",")):
        raise UsageError(f"optim_args={train.optim_args!r} must be name=value,name=value")
    kind, settings = _made(train)
    for setting, other in _READ_BY_SOME.items():
        if setting in given and getattr(train, setting) is not None:
            changed = copy.copy(train)
            setattr(changed, setting, other)
            try:
                same = _made(changed) == (kind, settings)
            except UsageError:
                continue  # it cannot do without
            if same and getattr(train, setting) != other:
                raise UsageError(f"{setting}={getattr(train, setting)!r} has no effect with optim={name!r}")


def _made(train: Any) -> tuple[Any, dict[str, Any]]:
    """An optimiser's class and settings, after one of them was built."""
    try:
        kind, settings = Trainer.get_optimizer_cls_and_kwargs(train, nn.Linear(2, 2))
        kind([{"params": [nn.Parameter(torch.zeros(2, 2))]}], **settings)
        return kind, settings
    except Exception as error:  # every optimiser has errors of its own
        args = "" if train.optim_args is None else f" with optim_args={train.optim_args!r}"
        raise UsageError(
            f"optim={train.optim.value!r}{args} cannot be built: {' '.join(str(error).split())}"
        ) from error


def check_schedule(train: Any, given: Collection[str]) -> None:
    """Build the learning-rate schedule once, and ask it for rates along the run.

    Args:
        train: :class:`~unmask.training.arguments.TrainArguments`.
        given: the names of the settings that were given.

    Raises:
        UsageError: it needs settings that are missing, or is given some that it does not read.
    """
    name = train.lr_scheduler_type.value
    takes = inspect.signature(TYPE_TO_SCHEDULER_FUNCTION[train.lr_scheduler_type]).parameters
    if "warmup_steps" in given and train.warmup_steps and "num_warmup_steps" not in takes:
        hint = "; constant_with_warmup has one" if name == "constant" else ""
        raise UsageError(f"warmup_steps={train.warmup_steps:g} has no effect with lr_scheduler_type={name!r}{hint}")
    settings = train.lr_scheduler_kwargs
    if settings and built(train, {"no_such_setting": 1}):
        raise UsageError(
            f"lr_scheduler_kwargs={settings} has no effect with lr_scheduler_type={name!r}, which takes none"
        )
    try:
        schedule = built(train, settings, strict=True)
        length = _length(train)
        for rate in getattr(schedule, "lr_lambdas", ()):
            found = [rate(step) for step in (0, 1, length // 2, length - 1, length)]
            if not all(math.isfinite(r) and r >= 0 for r in found):
                raise ValueError(f"it gives the rates {found}")
    except Exception as error:  # TypeError for a missing setting, ValueError, ZeroDivisionError ...
        known = [n for n in takes if n not in ("optimizer", "num_warmup_steps", "num_training_steps", "last_epoch")]
        wants = f" (lr_scheduler_kwargs may set {', '.join(known)})" if known and known != ["kwargs"] else ""
        why = " ".join(str(error).split())
        with_ = f" with lr_scheduler_kwargs={settings}" if settings else ""
        raise UsageError(f"lr_scheduler_type={name!r}{with_} does not fit{wants}: {why}") from error


def _length(train: Any) -> int:
    """Of a schedule. Of a run counted in epochs the corpus decides it, and it is only tried."""
    if train.minutes is not None:
        return TICKS
    return train.max_steps if train.max_steps > 0 else 1000


def built(train: Any, settings: Any, strict: bool = False) -> Any:
    """A schedule, or None where it takes no such settings (``strict``: its own error is raised)."""
    length = _length(train)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=train.learning_rate)
    try:
        return get_scheduler(
            train.lr_scheduler_type,
            optimizer=optimizer,
            num_warmup_steps=train.get_warmup_steps(length),
            num_training_steps=length,
            scheduler_specific_kwargs=_in_ticks(settings) if train.minutes is not None else copy.deepcopy(settings),
        )
    except Exception:
        if strict:
            raise
        return None


def _in_ticks(settings: Any) -> Any:
    """A schedule's settings with its counts of steps, which must be shares of the time, in ticks."""
    out = dict(settings or {})
    for name, value in out.items():
        if name.endswith("_steps") and value is not None:
            if not 0 <= value < 1:
                raise UsageError(f"{name}={value} must be a share of the time, below 1, where minutes says how long")
            out[name] = round(value * TICKS)
    return out


def direct_schedule(train: Any) -> None:
    """A schedule that looks at the metric is told in which direction that is better; PyTorch takes smaller for better.

    Raises:
        UsageError: ``lr_scheduler_kwargs`` say the other direction.
    """
    if train.lr_scheduler_type.value not in ("reduce_lr_on_plateau", "greedy"):
        return
    if train.metric_for_best_model is None:
        return
    mode = "max" if train.greater_is_better else "min"
    settings = dict(train.lr_scheduler_kwargs or {})
    if settings.setdefault("mode", mode) != mode:
        raise UsageError(
            f"lr_scheduler_kwargs: mode={settings['mode']!r} does not go with metric_for_best_model="
            f"{train.metric_for_best_model!r}, of which {'greater' if mode == 'max' else 'smaller'} is better"
        )
    train.lr_scheduler_kwargs = settings
