"""How answers are written where a benchmark asks for them: the user's settings, on a plan that the field uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from unmask.core.errors import UsageError
from unmask.core.model import Model
from unmask.core.sampling_config import SamplingConfig


def answer_config(
    model: Model, settings: Mapping[str, Any], config: SamplingConfig | None = None, order: str = "margin"
) -> SamplingConfig:
    """The config that answers are written under.

    What nobody says, neither the call nor the model's default plan, is one token a step at temperature 0, in ``order``.

    Args:
        model: who writes.
        settings: what the call says.
        config: instead of the model's default plan.
        order: for models that have one.

    Raises:
        UsageError: a setting that has no effect on the model or on a benchmark.
    """
    if "length" in settings:
        raise UsageError(
            f"length={settings['length']!r} has no effect on a benchmark, which says how long an answer is"
        )
    chosen = SamplingConfig.of(settings, config or replace(model.config, length=None))
    said = {**chosen.changed(), **settings}
    usual: dict[str, Any] = {"order": order, "quota": "linear", "steps": None, "temperature": 0.0}
    if "sampler" in said:  # which may have no use for an order or a quota
        usual = {name: value for name, value in usual.items() if name not in ("order", "quota")}
    open_ = {name: value for name, value in usual.items() if name in model.honours and name not in said}
    return replace(chosen, **open_).only(model.honours, model.words)
