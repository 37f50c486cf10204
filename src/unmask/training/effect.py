"""Settings that others make useless: who gives one of them is told so, before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from unmask.core.errors import UsageError
from unmask.core.family import Family, families
from unmask.training.loggers import READERS
from unmask.training.settings import default_of


@dataclass(frozen=True)
class Need:
    """Settings that do something only while others have some values.

    Attributes:
        names: the settings.
        by: those that decide.
        holds: given (model, data, train) arguments, whether they do something.
        what: what they need, in words.
    """

    names: tuple[str, ...]
    by: tuple[str, ...]
    holds: Callable[[Any, Any, Any], bool]
    what: str


def _value(setting: Any) -> str:
    return str(getattr(setting, "value", setting))


_LATENT = (
    "latent_tokens", "bottleneck", "whiten", "encoder", "pooling", "condition_dropout", "bag_of_words", "latent_noise",
)  # fmt: skip


def _need(names: str | tuple[str, ...], by: str, holds: Callable[[Any, Any, Any], bool], what: str) -> Need:
    return Need(names if isinstance(names, tuple) else (names,), tuple(by.split()), holds, what)


#: those of any family; :meth:`unmask.core.family.Family.needs` are its own
NEEDS = (
    _need(_LATENT, "conditioning", lambda m, d, t: m.conditioning != "none", "a semantic vector (conditioning)"),
    _need(
        "pad_weight", "length_model", lambda m, d, t: not m.length_model, "a canvas with padding (length_model=false)"
    ),
    _need(
        "max_tokens",
        "length_model start_from",
        lambda m, d, t: bool(m.length_model or m.start_from),
        "rows of unequal lengths (length_model=true)",
    ),
    _need(("crop_min_words", "crop_max_words"), "crops", lambda m, d, t: d.crops != "none", "crops"),
    _need(("crops", "near_duplicates"), "data", lambda m, d, t: d.data != "arithmetic", "texts that are read (data)"),
    _need("schedule", "estimator", lambda m, d, t: t.estimator != "count", "estimator=time or grid"),
    _need("muon_lr", "optimizer optim", lambda m, d, t: t.optimizer == "muon", "optimizer=muon"),
    _need(
        ("vib_beta", "free_bits"),
        "bottleneck start_from",
        lambda m, d, t: bool(m.bottleneck or m.start_from),
        "a bottleneck",
    ),
    _need(
        ("drafts_from", "drafts", "draft_rounds", "without_hypothesis"),
        "task",
        lambda m, d, t: d.task == "correction",
        "task=correction",
    ),
    _need(
        "bag_weight",
        "bag_of_words start_from",
        lambda m, d, t: bool(m.bag_of_words or m.start_from),
        "a bag_of_words",
    ),
    _need(
        "self_conditioning_rate",
        "self_conditioning start_from",
        lambda m, d, t: bool(m.self_conditioning or m.start_from),
        "self_conditioning",
    ),
    _need(
        ("probe_order", "probe_steps", "probe_guidance", "show_texts"),
        "probe_texts",
        lambda m, d, t: t.probe_texts > 0,
        "probe_texts",
    ),
    _need(
        ("eval_texts", "probe_texts", "diagnose_every"),
        "eval_strategy eval_on_start",
        lambda m, d, t: _value(t.eval_strategy) != "no" or t.eval_on_start,
        "an eval_strategy",
    ),
    _need(
        ("eval_delay", "metric_for_best_model", "greater_is_better"),
        "eval_strategy",
        lambda m, d, t: _value(t.eval_strategy) != "no",
        "an eval_strategy",
    ),
    _need("eval_steps", "eval_strategy", lambda m, d, t: _value(t.eval_strategy) == "steps", "eval_strategy=steps"),
    _need("save_steps", "save_strategy", lambda m, d, t: _value(t.save_strategy) == "steps", "save_strategy=steps"),
    _need("save_total_limit", "save_strategy", lambda m, d, t: _value(t.save_strategy) != "no", "a save_strategy"),
    _need(
        "logging_steps",
        "logging_strategy",
        lambda m, d, t: _value(t.logging_strategy) == "steps",
        "logging_strategy=steps",
    ),
    _need(
        ("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"),
        "gradient_checkpointing activation_checkpointing",
        lambda m, d, t: bool(t.gradient_checkpointing),
        "gradient_checkpointing",
    ),
    _need(
        ("dataloader_prefetch_factor", "dataloader_persistent_workers", "dataloader_multiprocessing_context"),
        "dataloader_num_workers",
        lambda m, d, t: t.dataloader_num_workers > 0,
        "dataloader_num_workers of at least 1",
    ),
    *(
        _need(
            name,
            "report_to",
            lambda m, d, t, readers=readers: any(logger in readers for logger in t.report_to),  # type: ignore[misc]
            f"report_to={' or '.join(readers)}",
        )
        for name, readers in READERS.items()
    ),
)


def _of_others(mine: type[Family]) -> list[Need]:
    """The settings that only other families than the recipe's read."""
    others = [family for family in families.walk() if family.trains and family is not mine]
    return [
        _need(tuple(n for n in f.reads if n not in mine.reads), "family", lambda m, d, t: False, f"family={f.trains}")
        for f in others
    ]


def useless(model: Any, data: Any, train: Any, given: Mapping[str, Any]) -> list[tuple[str, Need]]:
    """The given settings that do nothing, with what they would need.

    Args:
        model, data, train: the arguments as parsed.
        given: the names and values that were given.
    """
    held = {f.name: (part, f) for part in (model, data, train) for f in dataclasses.fields(part)}
    found, mine = [], families.training(model.family)
    for need in (*_of_others(mine), *mine.needs(), *NEEDS):
        for name in need.names:
            if name not in given or name not in held:
                continue
            part, f = held[name]
            value = getattr(part, name)
            # nothing of something that is off anyway is no mistake: show_texts=0 with probe_texts=0
            if value and value != default_of(f) and not need.holds(model, data, train):
                found.append((name, need))
    return found


def refuse_useless(found: list[tuple[str, Need]], given: Mapping[str, Any]) -> None:
    """Refuse the first setting without effect, naming what it needs.

    Raises:
        UsageError: there is one.
    """
    for name, need in found:
        raise UsageError(f"{name}={given[name]} has no effect: it needs {need.what}")
