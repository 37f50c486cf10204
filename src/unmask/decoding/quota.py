"""How many positions a row writes at one step. Always a row's own number, never a mean over the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from unmask.core.registry import Leaf, Registry
from unmask.decoding.order import Candidates


@dataclass(frozen=True)
class Ranking:
    """A row's candidates in the order they would be written.

    Attributes:
        candidates: the positions and their statistics.
        order_RL: positions of each row, the first to be written first.
        count_R: candidates a row; ``order_RL[:, count_R:]`` are none.
    """

    candidates: Candidates
    order_RL: Tensor
    count_R: Tensor

    def sorted(self, value_N: Tensor, blank: float) -> Tensor:
        """A statistic [N] as [R, L], each row in writing order, ``blank`` behind its last candidate."""
        return self.candidates.spread(value_N, blank).gather(1, self.order_RL)


class Quota(Leaf):
    """Gives each row a number of positions; at least one is written, at most all candidates.

    Attributes:
        needs: row statistics that :meth:`count` asks for.
        uses_steps: whether the plan's ``steps`` shape it; a plan that sets ``steps`` in vain is refused.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    uses_steps: ClassVar[bool] = True

    def count(self, ranking: Ranking) -> Tensor:
        """Positions to write now, int64 [R]; what lies outside [1, candidates] is moved inside."""
        raise NotImplementedError


def prefix(pass_RL: Tensor) -> Tensor:
    """Length of the run of True at the start of each row [R]."""
    return pass_RL.long().cumprod(1).sum(1)


quotas: Registry[Quota] = Registry("quota", "unmask.decoding.quotas", Quota)
