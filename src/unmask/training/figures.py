"""Which figures a run reports at each evaluation, one of which ranks its checkpoints."""

from __future__ import annotations

from typing import Any

from unmask.core.errors import UsageError, did_you_mean
from unmask.core.family import families
from unmask.training.ranking import greater_is_better

#: of these neither direction is a mistake: what a latent is worth, and what it costs
_EITHER = ("kl_nats", "loss_r100_null", "loss_r100_shuffled", "d_null", "d_shuf")


def reported(model: Any, task: str) -> list[str]:
    """The figures that every evaluation of a run reports, without ``eval_``.

    Args:
        model: the recipe's :class:`~unmask.training.arguments.ModelArguments`.
        task: the recipe's.
    """
    return families.training(model.family).figures(model, task)


def check_metric(metric: str | None, greater: bool | None, model: Any, task: str) -> None:
    """Refuse a metric that would never be there, or whose direction would keep the worst checkpoint.

    Args:
        metric: ``metric_for_best_model``, with or without ``eval_``.
        greater: ``greater_is_better`` as it was given; None where it was not.
        model, task: see :func:`reported`.

    Raises:
        UsageError: the run does not report it, or the direction is the wrong one.
    """
    if metric is None:
        return
    name, names = metric.removeprefix("eval_"), reported(model, task)
    if name not in names:
        hint = did_you_mean(name, names)
        near = f"{hint} " if hint.startswith("did") else ""
        raise UsageError(
            f"metric_for_best_model={metric!r} is no figure of this run: {near}It reports {', '.join(names)}"
        )
    if greater is not None and name not in _EITHER and greater != greater_is_better(name):
        better = "greater" if greater_is_better(name) else "smaller"
        raise UsageError(f"greater_is_better={greater} would keep the worst checkpoint: of {name}, {better} is better")
