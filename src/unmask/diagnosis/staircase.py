"""What a number of steps costs: tokens written together are blind to each other.

In a random order each token pays the loss of the masked fraction at its step's start, so that a schedule is a staircase
under the curve of the loss over that fraction. The lowest staircase of as many steps is found by dynamic programming.

Shapes: S steps, B rows, T positions (docs/notation.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.subject import NotProvided

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Schedule:
    """A sampler's numbers of tokens a step, and what they cost, nats a token.

    Attributes:
        tokens_per_step, most_in_one_step: how many are written together, on average and at most.
        steps: in which a row is written.
        own: of the sampler's own numbers. best: of the best numbers for as many steps.
        one_at_a_time, at_once: of one token a step, and of all in one.
        alike: whether every row is written in the same numbers.
        once: whether every place is written once.
    """

    tokens_per_step: float
    most_in_one_step: int
    steps: int
    own: float
    best: float
    one_at_a_time: float
    at_once: float
    alike: bool
    once: bool

    @property
    def worth(self) -> float:
        """All that context can give; 0 where that is below a twentieth of the loss, in which nothing can be seen."""
        worth = self.at_once - self.one_at_a_time
        return worth if worth > 0.05 * self.at_once else 0.0

    def lost(self, one: float, other: float) -> float:
        """A difference as a share of what context can give."""
        return (one - other) / self.worth if self.worth else 0.0


def schedule_of(lab: CheckContext) -> Schedule:
    """The schedule of the subject's own samples; measured once.

    Raises:
        NotProvided: generate does not tell its steps.
    """
    return lab.once("schedule", lambda: _measured(lab))  # type: ignore[no-any-return]


def loss_curve(lab: CheckContext, positions: int) -> Curve:
    """The loss with m of some positions masked, m = 0..positions (0 at m = 0), nats a token, never falling."""
    ratios = torch.tensor(sorted(lab.budget.ratios), dtype=torch.float64)
    loss = torch.tensor([float(lab.at_ratio(float(r)).ce_N.mean()) for r in ratios], dtype=torch.float64)
    share = torch.arange(1, positions + 1, dtype=torch.float64) / positions
    curve = interpolated(share, ratios, torch.cummax(loss, 0).values)
    return np.concatenate([[0.0], curve.numpy()])


def best_of(curve: Curve, steps: int) -> float:
    """The lowest cost a token of writing all positions in a number of steps, by dynamic programming."""
    T = len(curve) - 1
    # cost[m, k]: k tokens written where m are masked, and what is left of the positions
    k, m = np.meshgrid(np.arange(T + 1), np.arange(T + 1))
    step = np.where(k <= m, k * curve[m], np.inf)
    left = np.where(k <= m, m - k, 0)
    best = np.full(T + 1, math.inf)
    best[0] = 0.0
    for _ in range(min(steps, T)):
        best = np.min(step + best[left], axis=1)
    return float(best[T] / T)


def one_at_a_time(curve: Curve, together: int = 1) -> float:
    """The cost a token when some tokens are written at a time."""
    T = len(curve) - 1
    before = np.arange(T, 0, -together)
    return float((np.minimum(before, together) * curve[before]).sum() / T)


def interpolated(fraction: Tensor, ratios: Tensor, loss: Tensor) -> Tensor:
    """The loss at masked fractions, between those where it was measured."""
    place = torch.searchsorted(ratios, fraction).clamp(1, len(ratios) - 1)
    left, right = ratios[place - 1], ratios[place]
    weight = ((fraction - left) / (right - left)).clamp(0, 1)
    return torch.lerp(loss[place - 1], loss[place], weight)


def _measured(lab: CheckContext) -> Schedule:
    out = lab.samples()
    if not out.steps:
        raise NotProvided("the steps of generate")
    masked_SB = torch.stack([(step.x_BL == lab.mask_id).sum(1).cpu() for step in out.steps]).numpy()
    count_SB = torch.stack([step.drawn_BL.sum(1).cpu() for step in out.steps]).numpy()
    drawn_BL = torch.stack([step.drawn_BL for step in out.steps]).sum(0)
    T = max(1, round(float(lab.exists(out.ids_BL).sum(1).double().mean())))
    curve = loss_curve(lab, T)
    written, busy = count_SB.sum(), (count_SB > 0).sum(0)
    steps = max(1, round(float(busy.mean())))
    own = float((count_SB * curve[np.clip(masked_SB, 1, T)]).sum() / max(written, 1))
    return Schedule(
        tokens_per_step=float(written / max(busy.sum(), 1)),
        most_in_one_step=int(count_SB.max(initial=0)),
        steps=steps,
        own=own,
        best=best_of(curve, steps),
        one_at_a_time=one_at_a_time(curve),
        at_once=float(curve[T]),
        alike=bool((count_SB == count_SB[:, :1]).all()),
        once=bool((drawn_BL <= 1).all()),
    )
