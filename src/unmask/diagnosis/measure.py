"""One number about what is written, and when it is surely beyond another: 3 standard errors, more for few texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unmask.diagnosis.finding import Status
from unmask.diagnosis.statistics import Mean


@dataclass(frozen=True)
class Measure:
    """One number about what is written.

    Attributes:
        name: what is measured, with its unit.
        written: of the model's texts. data: the same number of held-out text; of what was asked, the reference's own.
        apart: the difference that is judged, or None where nothing is.
        yardstick: a number that is worth nothing, and what it is of; None where there is none.
        better: which way is better; ``near``: the data's number is.
        status: ``fail`` beyond the yardstick, ``warn`` beyond A/A, ``pass``, or ``not_run`` for a number without one.
        why: one sentence on the outcome.
    """

    name: str
    written: Mean
    data: Mean | None = None
    apart: Mean | None = None
    yardstick: Mean | None = None
    yardstick_of: str = ""
    better: Literal["higher", "lower", "near"] = "near"
    status: Status = "not_run"
    why: str = ""


def above(mean: Mean) -> float:
    """The largest number that a mean is above beyond chance: 3 standard errors, more for few texts."""
    return mean.value - 0.75 * mean.room


def below(mean: Mean) -> float:
    """The smallest number that a mean is below beyond chance."""
    return mean.value + 0.75 * mean.room
