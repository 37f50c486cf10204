"""What a budget of forwards costs with a perfect denoiser, and the best fixed schedule that pays no more.

Positions that are written in one forward are drawn independently of each other, each from its exact conditional given
what is visible. For a schedule that fixes which positions are written when, the divergence of what it writes from the
law is exactly the sum, over steps, of the expected conditional total correlation of the positions of the step:
KL(p || q) = sum_t E_p TC(x_{S_t} | x_{S_1}, ..., x_{S_{t-1}}). The best schedule is a minimum over set partitions: by
dynamic programming over gaps for a Markov chain, by enumeration for a small joint.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import torch
from torch import Tensor

from unmask.auditing.laws.chain import Chain
from unmask.auditing.laws.joint import Joint

Schedule = tuple[tuple[int, ...], ...]


class ChainPrices:
    """Prices of schedules on a Markov chain, nats a text.

    Given both ends of a gap, what lies inside is independent of what lies outside, so a step's price is a sum over
    gaps. Inside a gap of ends a and b the total correlation of s_1 < ... < s_m is
    sum_j [h(s_j - a, b - s_j) - h(s_j - s_{j-1}, b - s_j)], with h(c, d) = e(c) + e(d) - e(c + d) the entropy of a
    position that has its neighbours c to the left and d to the right, and e(d) = H(x_{i+d} | x_i).

    Args:
        law: the chain.
    """

    def __init__(self, law: Chain) -> None:
        self.length = law.length
        far = law.distance_entropy(None)
        self._e = [0.0, *(law.distance_entropy(d) for d in range(1, law.length + 2)), far]
        # of all gaps the same place in the table: distances past the last are infinite
        self._open = law.length + 2
        self.best = lru_cache(maxsize=None)(self._best)

    def _h(self, left: int, right: int) -> float:
        """Entropy of a position whose visible neighbours are so far away."""
        both = self._open if self._open in (left, right) else left + right
        return self._e[left] + self._e[right] - self._e[min(both, self._open)]

    def price(self, schedule: Schedule) -> float:
        """KL(p || q) of a fixed schedule: the positions of each forward, in order."""
        seen: set[int] = set()
        total = 0.0
        for step in schedule:
            for s, before in zip(sorted(step), [None, *sorted(step)], strict=False):
                a, b = _ends(s, seen)
                near = a if before is None or (a is not None and before < a) else before
                right = self._open if b is None else b - s
                total += self._h(self._distance(s, a), right) - self._h(self._distance(s, near), right)
            seen |= set(step)
        return total

    def _distance(self, s: int, a: int | None) -> int:
        return self._open if a is None else s - a

    def _best(self, inner: int, left: bool, right: bool, steps: int) -> tuple[float, tuple[int, ...]]:
        """The least price of ``inner`` positions in a gap, and which of them its first step writes.

        Args:
            inner: positions in the gap. left, right: whether that end is visible. steps: forwards that are left.
        """
        if inner == 0:
            return 0.0, ()
        if steps == 0:
            return math.inf, ()
        # a shortest path through the gap: node 0 is the left end, inner + 1 the right one
        cost, way = [math.inf] * (inner + 2), [0] * (inner + 2)
        cost[0] = 0.0
        for to in range(1, inner + 2):
            last = to == inner + 1
            after = inner + 1 - to if right else self._open
            for at in range(to):
                gap = self.best(to - at - 1, left or at > 0, right or not last, steps - 1)[0]
                if at == 0 and last and inner > 0:
                    continue  # a step that writes nothing
                edge = gap
                if not last and at > 0:
                    edge += self._h(to if left else self._open, after) - self._h(to - at, after)
                if cost[at] + edge < cost[to]:
                    cost[to], way[to] = cost[at] + edge, at
        step, at = [], way[inner + 1]
        while at:
            step.append(at - 1)
            at = way[at]
        return cost[inner + 1], tuple(reversed(step))

    def schedule(self, steps: int) -> tuple[float, Schedule]:
        """The least price in ``steps`` forwards, nats a text, and a schedule that pays it."""
        price, _ = self.best(self.length, False, False, steps)
        gaps = [(0, self.length, False, False)]
        made = []
        for left in range(steps, 0, -1):
            now, after = [], []
            for start, inner, before, behind in gaps:
                step = [start + i for i in self.best(inner, before, behind, left)[1]]
                now += step
                ends = [start - 1, *step, start + inner]
                for a, b in itertools.pairwise(ends):
                    after.append((a + 1, b - a - 1, before or a >= start, behind or b < start + inner))
            gaps = [gap for gap in after if gap[1]]
            if now:
                made.append(tuple(now))
        return max(0.0, price), tuple(made)


def _ends(s: int, seen: set[int]) -> tuple[int | None, int | None]:
    return max((i for i in seen if i < s), default=None), min((i for i in seen if i > s), default=None)


class JointPrices:
    """Prices of schedules on a small joint, nats a text (mean over its vectors), by enumeration.

    Args:
        law: the joint.
    """

    def __init__(self, law: Joint) -> None:
        self.length = law.length
        p_ZX = law.p_ZX[: max(1, law.latents)]
        joint = p_ZX.view(-1, *[law.mask_id] * law.length)
        every = range(law.length)
        self._entropy = {
            kept: _entropy(joint, [i + 1 for i in every if i not in kept])
            for size in range(law.length + 1)
            for kept in itertools.combinations(every, size)
        }
        self.best = lru_cache(maxsize=None)(self._best)

    def _correlation(self, step: tuple[int, ...], seen: tuple[int, ...]) -> float:
        """E TC of a step's positions given those that are visible."""
        known = self._entropy[seen]
        alone = sum(self._entropy[tuple(sorted((*seen, i)))] - known for i in step)
        return alone - (self._entropy[tuple(sorted((*seen, *step)))] - known)

    def price(self, schedule: Schedule) -> float:
        """KL(p || q) of a fixed schedule."""
        seen: tuple[int, ...] = ()
        total = 0.0
        for step in schedule:
            total += self._correlation(tuple(sorted(step)), seen)
            seen = tuple(sorted((*seen, *step)))
        return total

    def _best(self, seen: tuple[int, ...], steps: int) -> tuple[float, Schedule]:
        left = [i for i in range(self.length) if i not in seen]
        if not left:
            return 0.0, ()
        if steps == 0:
            return math.inf, ()
        found = []
        for size in range(1, len(left) + 1):
            for step in itertools.combinations(left, size):
                later, schedule = self.best(tuple(sorted((*seen, *step))), steps - 1)
                found.append((self._correlation(step, seen) + later, (step, *schedule)))
        return min(found)

    def schedule(self, steps: int) -> tuple[float, Schedule]:
        """The least price in ``steps`` forwards, nats a text, and a schedule that pays it."""
        price, schedule = self.best((), steps)
        return max(0.0, price), schedule


def _entropy(joint: Tensor, out: list[int]) -> float:
    """Entropy of what is left when the dimensions ``out`` are summed over, nats; its mean over the first dimension."""
    p = (joint.sum(dim=out) if out else joint).reshape(len(joint), -1)
    return float(-torch.special.xlogy(p, p).sum(1).mean())
