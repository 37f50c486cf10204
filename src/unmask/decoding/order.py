"""Which masked position is unmasked first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.random import Stream
from unmask.core.registry import Leaf, Registry
from unmask.core.sampling import gumbel
from unmask.decoding.logit_stats import LogitStats
from unmask.decoding.state import SamplerState


@dataclass
class Candidates:
    """Hidden positions of the open blocks, row-major, and what can be known of them.

    Nothing runs before it is asked for: an order that looks at no logits costs no head on rows that are not written.

    Attributes:
        canvas: the rows.
        at_RL: which positions.
        row_N, col_N: where they stand.
        look: runs the body and gives the statistics; called at most once, by :attr:`stats`.
        pick: ids drawn at all candidates under the plan; called at most once, by :attr:`value_N`.
    """

    canvas: SamplerState
    at_RL: Tensor
    look: Callable[[Tensor, Tensor], LogitStats]
    pick: Callable[[Candidates, Tensor | None], Tensor]
    row_N: Tensor = field(init=False)
    col_N: Tensor = field(init=False)
    _stats: LogitStats | None = None
    _value_N: Tensor | None = None

    def __post_init__(self) -> None:
        self.row_N, self.col_N = self.at_RL.nonzero(as_tuple=True)

    def __len__(self) -> int:
        return len(self.row_N)

    @property
    def seen(self) -> bool:
        """True once somebody asked for logits."""
        return self._stats is not None

    @property
    def stats(self) -> LogitStats:
        """Statistics of the model's distribution, after guidance and repetition penalty, before temperature."""
        if self._stats is None:
            self._stats = self.look(self.row_N, self.col_N)
        return self._stats

    @property
    def place_N(self) -> Tensor:
        """Place in the text, counted over positions that exist."""
        return self.canvas.place_RL[self.row_N, self.col_N]

    @property
    def value_N(self) -> Tensor:
        """The id drawn at each candidate under the plan's temperature; what is chosen is written with this very id."""
        if self._value_N is None:
            self._value_N = self.pick(self, None)
        return self._value_N

    @property
    def drawn(self) -> bool:
        """True once values were drawn for all candidates."""
        return self._value_N is not None

    def uniform_N(self, stream: Stream) -> Tensor:
        """fp64 uniforms named by seed, row, the row's own step, place and stream."""
        return self.canvas.uniform_N(self.row_N, self.col_N, stream)

    def spread(self, value_N: Tensor, blank: float) -> Tensor:
        """[N] to [R, L], ``blank`` elsewhere."""
        out_RL = torch.full(self.at_RL.shape, blank, dtype=value_N.dtype, device=value_N.device)
        out_RL[self.row_N, self.col_N] = value_N
        return out_RL


class Order(Leaf):
    """Gives each candidate a score; within a row the higher score is written first.

    Equal scores are separated by noise named by seed, row, step and place, never by position.

    Attributes:
        needs: row statistics that :meth:`score` asks for (see :data:`unmask.decoding.logit_stats.STATISTICS`).
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def score(self, candidates: Candidates) -> Tensor:
        """Scores [N], fp64, higher first."""
        raise NotImplementedError

    def perturb(self, score_RL: Tensor, canvas: SamplerState) -> Tensor:
        """What the row is sorted by: the scores, with noise where the order has it."""
        return score_RL


@dataclass(frozen=True)
class NoisyOrder(Order):
    """An order whose scores may be perturbed.

    Gumbel noise with coefficient c draws positions without replacement with chances proportional to exp(score / c):
    Dream's ``alg_temp`` is c. MaskGIT and Kim et al. let it fall with the clock (``annealed``).

    Attributes:
        noise: ``none``, ``gaussian`` or ``gumbel``.
        coefficient: what the noise is multiplied by, in the score's own unit.
        annealed: also multiply it by the clock, 1 at the first step and towards 0 at the last.
    """

    noise: str = "none"
    coefficient: float = 0.0
    annealed: bool = False

    def __post_init__(self) -> None:
        if self.noise not in ("none", "gaussian", "gumbel"):
            raise UsageError(f"noise={self.noise!r} must be 'none', 'gaussian' or 'gumbel'")
        if self.noise == "none" and (self.coefficient or self.annealed):
            raise UsageError(
                f"coefficient={self.coefficient} and annealed={self.annealed} have no effect with noise='none': "
                "choose 'gaussian' or 'gumbel'"
            )
        if self.noise != "none" and self.coefficient <= 0:
            raise UsageError(f"noise={self.noise!r} needs a coefficient above 0, got {self.coefficient}")

    @classmethod
    def examples(cls) -> list[NoisyOrder]:
        return [
            cls(),
            cls(noise="gaussian", coefficient=0.3),
            cls(noise="gumbel", coefficient=0.5),
            cls(noise="gumbel", coefficient=0.5, annealed=True),
        ]

    def perturb(self, score_RL: Tensor, canvas: SamplerState) -> Tensor:
        if self.noise == "none":
            return score_RL
        u_RL = canvas.uniform_RL(Stream.ORDER)
        noise_RL = gumbel(u_RL) if self.noise == "gumbel" else torch.special.ndtri(u_RL)
        scale_R = self.coefficient * (canvas.time_R if self.annealed else torch.ones_like(canvas.time_R))
        return score_RL + scale_R[:, None] * noise_RL


def ranked(priority_RL: Tensor, at_RL: Tensor, canvas: SamplerState) -> tuple[Tensor, Tensor]:
    """Sort each row's candidates, highest priority first, ties by seeded noise.

    Returns:
        order_RL: positions, the best first; candidates come before everything else.
        rank_RL: the inverse: rank of each position, 0 for the best.
    """
    priority_RL = priority_RL.masked_fill(~at_RL, float("-inf"))
    sorted_RL = priority_RL.sort(dim=1, descending=True)
    near_RL = sorted_RL.values[:, :-1] == sorted_RL.values[:, 1:]
    if not bool((near_RL & (torch.arange(1, at_RL.shape[1], device=at_RL.device) < at_RL.sum(1, keepdim=True))).any()):
        return sorted_RL.indices, _inverse(sorted_RL.indices)
    tie_RL = canvas.uniform_RL(Stream.TIE).masked_fill(~at_RL, -1.0)
    by_tie_RL = tie_RL.argsort(1, descending=True)
    by_both_RL = priority_RL.gather(1, by_tie_RL).argsort(dim=1, descending=True, stable=True)
    order_RL = by_tie_RL.gather(1, by_both_RL)
    # candidates whose priority is itself -inf tie with non-candidates; the tie key (-1) puts those last
    return order_RL, _inverse(order_RL)


def _inverse(order_RL: Tensor) -> Tensor:
    place_RL = torch.arange(order_RL.shape[1], device=order_RL.device).expand_as(order_RL)
    return torch.empty_like(order_RL).scatter_(1, order_RL, place_RL)


orders: Registry[Order] = Registry("order", "unmask.decoding.orders", Order)
