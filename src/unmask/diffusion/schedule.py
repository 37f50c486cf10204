"""What a schedule is: how much of a text is kept at time t."""

from __future__ import annotations

from torch import Tensor

from unmask.core.registry import Leaf, Registry


class Schedule(Leaf):
    """Keep probability ``alpha(t)``: 1 at t = 0 (nothing masked), 0 at t = 1 (all masked), strictly falling between.

    Every method takes and returns tensors of any shape; compute in fp64 where exactness matters.
    """

    #: number of discrete steps where the process lives on a grid t = i / steps; None for continuous time
    steps: int | None = None

    def alpha(self, t: Tensor) -> Tensor:
        """Keep probability at ``t``."""
        raise NotImplementedError

    def dalpha(self, t: Tensor) -> Tensor:
        """Derivative of :meth:`alpha`; negative inside (0, 1)."""
        raise NotImplementedError

    def inverse(self, alpha: Tensor) -> Tensor:
        """The time at which the keep probability is ``alpha``: the inverse of :meth:`alpha`."""
        raise NotImplementedError

    def weight(self, t: Tensor) -> Tensor:
        """NELBO weight ``-alpha'(t) / (1 - alpha(t))`` of a masked token's cross-entropy (arXiv 2406.07524, eq. 8)."""
        return -self.dalpha(t) / (1 - self.alpha(t))


schedules: Registry[Schedule] = Registry("schedule", "unmask.diffusion.schedules", Schedule)
