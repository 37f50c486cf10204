"""What a number of steps costs: tokens written together are blind to each other.

The sampler's own numbers of tokens, and the best ones for as many steps, as staircases under the measured loss
(:mod:`unmask.diagnosis.staircase`).

Shapes: S steps, B rows, T positions (docs/notation.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.estimate import Estimate
from unmask.diagnosis.staircase import LossCurve, best, divided, weights
from unmask.diagnosis.subject import NotProvided


@dataclass(frozen=True)
class UnmaskingSchedule:
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


def schedule_of(context: CheckContext) -> UnmaskingSchedule:
    """The schedule of the subject's own samples; measured once.

    Raises:
        NotProvided: generate does not tell its steps.
    """
    return context.once("schedule", lambda: _measured(context))  # type: ignore[no-any-return]


def loss_curve(context: CheckContext) -> LossCurve:
    """The loss at the budget's masked fractions, nats a token, never falling: noise is no reason to mask more."""
    ratios_R = torch.tensor(sorted(context.budget.ratios), dtype=torch.float64)
    loss_R = torch.tensor([float(context.at_ratio(float(r)).ce_N.mean()) for r in ratios_R], dtype=torch.float64)
    return LossCurve(ratios_R, [Estimate(float(v), {}) for v in torch.cummax(loss_R, 0).values])


def best_cost(curve: LossCurve, positions: int, steps: int) -> float:
    """The lowest cost a token of writing all positions in a number of steps."""
    return curve.cost(divided(best(positions, min(steps, positions), curve), curve.ratios_R)).value


def even_cost(curve: LossCurve, positions: int, together: int = 1) -> float:
    """The cost a token when so many tokens are written at a time."""
    whole, rest = divmod(positions, together)
    return curve.cost(divided([together] * whole + [rest] * bool(rest), curve.ratios_R)).value


def _measured(context: CheckContext) -> UnmaskingSchedule:
    out = context.samples()
    if not out.steps:
        raise NotProvided("the steps of generate")
    share_SB = torch.stack([context.masked_share(step.x_BL) for step in out.steps])
    count_SB = torch.stack([step.drawn_BL.sum(1).cpu() for step in out.steps])
    drawn_BL = torch.stack([step.drawn_BL for step in out.steps]).sum(0)
    T = positions_of(context)
    curve = loss_curve(context)
    busy_SB = count_SB > 0
    steps = max(1, round(float(busy_SB.sum(0).double().mean())))
    own_R = weights(share_SB[busy_SB], count_SB[busy_SB].double(), curve.ratios_R)
    return UnmaskingSchedule(
        tokens_per_step=float(count_SB.sum() / busy_SB.sum().clamp(min=1)),
        most_in_one_step=int(count_SB.max()),
        steps=steps,
        own=curve.cost(own_R).value,
        best=best_cost(curve, T, steps),
        one_at_a_time=curve.bound(T).value,
        at_once=float(curve.loss_R[-1]),
        alike=bool((count_SB == count_SB[:, :1]).all()),
        once=bool((drawn_BL <= 1).all()),
    )


def positions_of(context: CheckContext) -> int:
    """How many positions a written text has, on average."""
    return max(1, round(float(context.exists(context.samples().ids_BL).sum(1).double().mean())))
