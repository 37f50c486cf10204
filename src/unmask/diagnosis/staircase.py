"""What a schedule costs: the staircase of its steps under the curve of the loss over the masked fraction.

Tokens drawn in one step are blind to each other, so each pays the loss of the masked fraction at its step's start. The
cost of any schedule is therefore a weighted sum of the losses measured at a few fractions, and the weights are all that
a schedule is. (For a random order; what another order saves is measured apart.)

Shapes: N draws, R measured fractions, L positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diagnosis.estimate import Estimate

#: positions that the best schedule is searched among at most; longer canvases are scaled
LONGEST = 512


@dataclass(frozen=True)
class LossCurve:
    """The loss at a few masked fractions (rising), nats a token."""

    ratios_R: Tensor
    loss: Sequence[Estimate]

    @property
    def loss_R(self) -> Tensor:
        return torch.tensor([e.value for e in self.loss], dtype=torch.float64)

    def cost(self, weight_R: Tensor) -> Estimate:
        """Nats a token of a schedule."""
        first, *others = (e * float(w) for e, w in zip(self.loss, weight_R, strict=True))
        for one in others:
            first = first + one
        return first

    def bound(self, length: int) -> Estimate:
        """Nats a token when one token is written at a time."""
        return self.cost(divided([1] * length, self.ratios_R))


def divided(count_S: Sequence[float], ratios_R: Tensor) -> Tensor:
    """The weights [R] of a schedule that writes so many positions in its steps, first step first."""
    count = torch.tensor(count_S, dtype=torch.float64)
    left = count.sum() - count.cumsum(0) + count
    return weights(left / count.sum(), count, ratios_R)


def weights(fraction_N: Tensor, count_N: Tensor, ratios_R: Tensor) -> Tensor:
    """The share [R] of the draws that pays each measured loss; between two of them both, in proportion."""
    place = torch.searchsorted(ratios_R, fraction_N).clamp(1, len(ratios_R) - 1)
    left, right = ratios_R[place - 1], ratios_R[place]
    part = ((fraction_N - left) / (right - left)).clamp(0, 1)
    found_R = torch.zeros(len(ratios_R), dtype=torch.float64)
    found_R.index_add_(0, place - 1, count_N * (1 - part)).index_add_(0, place, count_N * part)
    return found_R / count_N.sum()


def best(length: int, steps: int, curve: LossCurve) -> list[int]:
    """How many positions each step of the cheapest schedule of so many steps writes (dynamic programming)."""
    L = min(length, LONGEST)
    steps = min(max(1, round(steps * L / length)), L)
    grid_M = torch.arange(L + 1, dtype=torch.float64)
    loss_M = torch.stack([weights(m[None] / L, torch.ones(1), curve.ratios_R) @ curve.loss_R for m in grid_M])
    # of m masked positions m - k are written: what that costs, for every pair
    pay_MK = (grid_M[:, None] - grid_M[None]) * loss_M[:, None]
    pay_MK = pay_MK.masked_fill(grid_M[:, None] <= grid_M[None], torch.inf)
    cheapest_M = torch.full((L + 1,), torch.inf, dtype=torch.float64)
    cheapest_M[0] = 0.0
    back = []
    for _ in range(steps):
        cheapest_M, left_M = (pay_MK + cheapest_M[None]).min(1)
        back.append(left_M)
    counts, m = [], L
    for left_M in reversed(back):
        left = int(left_M[m])
        counts.append(m - left)
        m = left
    return counts
