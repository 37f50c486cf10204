"""What to do, tried: the best of a small grid of plans at equal forwards, measured beside the user's own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.sampling_config import SamplingConfig
from unmask.data.hub import in_hub_cache
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.measure import below
from unmask.diagnosis.statistics import Mean, plain_mean
from unmask.diagnosis.subject import NotProvided
from unmask.diagnosis.symptom import distance, symptoms
from unmask.diagnosis.validated_subject import SubjectFault

TEMPERATURES = (0.0, 0.7, 1.0)


@dataclass(frozen=True)
class Prescription:
    """A plan that was tried.

    Attributes:
        settings: of the plan, beside the model's default plan: those of the user's plan, and what was changed.
        command: how to write with it.
        gain: how much nearer its texts are to what they should be than the plan's, text by text, on a fresh seed;
            negative is nearer.
        before, after: the symptoms under the user's plan and under this one, by name.
        tried: how many plans were.
        better: True if it is surely better than the user's plan.
    """

    settings: Mapping[str, Any]
    command: str
    gain: Mean
    before: Mapping[str, Mean]
    after: Mapping[str, Mean]
    tried: int
    better: bool

    def save(self, folder: str | Path) -> Path:
        """Keep it as the default plan of a model folder.

        Raises:
            UsageError: it is not surely better, or the folder is not to be written in.
        """
        if not self.better:
            raise UsageError("no plan of the grid is surely better than the one in use: there is none to keep")
        place = writable(folder)
        return SamplingConfig.of(dict(self.settings), SamplingConfig.load(place)).save(place)


def writable(folder: str | Path) -> Path:
    """A model folder whose default plan may be changed.

    Raises:
        UsageError: no folder, one of the hub's cache, or one that cannot be written in.
    """
    place = Path(folder)
    if not place.is_dir():
        raise UsageError(f"a plan is kept in a model's own folder, and {str(folder)!r} is none: save the model first")
    if in_hub_cache(place):
        raise UsageError(f"{str(folder)!r} lies in the hub's cache, which is shared: save the model elsewhere first")
    if not os.access(place, os.W_OK):
        raise UsageError(f"{str(folder)!r} cannot be written in: save the model elsewhere first")
    return place


def prescription(context: CheckContext, model: str) -> Prescription | None:
    """The best plan of the grid; None for a subject without settings to try.

    The plan is chosen under one seed and measured under another, beside the user's plan.

    Args:
        context: holds the samples of the user's plan.
        model: what the command line is to name.
    """
    try:
        plans = list(_grid(context))
        if not plans:
            return None
        scored: list[tuple[float, dict[str, Any]]] = []
        for settings in plans:
            ids_BL = _written(context, context.seed, settings)
            if ids_BL is not None:
                scored.append((float(distance(context, ids_BL).mean()), settings))
        if not scored:
            return None
        _, best = min(scored, key=lambda pair: pair[0])
        fresh = context.seed + 1
        own, new = _written(context, fresh, {}), _written(context, fresh, best)
    except (NotProvided, SubjectFault):
        return None
    if own is None or new is None:
        return None
    chosen = {**context.subject.plan_settings, **best}
    gain = plain_mean(distance(context, new) - distance(context, own))
    return Prescription(
        settings=chosen,
        command=_command(model, chosen),
        gain=gain,
        before={s.name: s.mean for s in symptoms(context, own)},
        after={s.name: s.mean for s in symptoms(context, new)},
        tried=len(scored),
        better=below(gain) < 0,
    )


def _written(context: CheckContext, seed: int, settings: Mapping[str, Any]) -> Tensor | None:
    try:
        return context.subject.generate(context.prompts, seed, **settings).ids_BL
    except SubjectFault:
        # a setting that this plan does not go with
        return None


def _grid(context: CheckContext) -> Iterator[dict[str, Any]]:
    """Settings at as many forwards as the user's plan takes."""
    s, out = context.subject, context.samples()
    temperatures = TEMPERATURES if "temperature" in s.settings else (None,)
    orders = s.settings.get("order", (None,))
    steps = sum(bool(step.drawn_BL.any()) for step in out.steps or ())
    counted = "steps" in s.settings and steps > 0
    # guidance asks the network twice a step
    guided = (1.0, 2.0) if "guidance" in s.settings and counted and steps > 1 else (None,)
    spent = steps * (1 if out.guidance == 1 else 2)
    for order, temperature, gamma in product(orders, temperatures, guided):
        settings = {"order": order, "temperature": temperature, "guidance": gamma}
        if gamma is not None:
            settings["steps"] = max(1, spent if gamma == 1 else spent // 2)
        found = {name: value for name, value in settings.items() if value is not None}
        if found:
            yield found


def _command(model: str, settings: Mapping[str, Any]) -> str:
    flags = " ".join(f"--{name.replace('_', '-')} {_said(value)}" for name, value in settings.items())
    return f"unmask sample {model} {flags}"


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
