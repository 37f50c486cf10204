"""What one step of a sampler decides: which masked positions are unmasked, and which unmasked ones are masked again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from unmask.core.registry import Leaf, Registry
from unmask.decoding.order import Candidates, Order
from unmask.decoding.quota import Quota
from unmask.decoding.remask import Remasker
from unmask.decoding.state import SamplerState


@dataclass(frozen=True)
class SamplerStep:
    """The decision for every live row.

    Attributes:
        chosen_RL: positions to write; a row without any needs no forward.
        time_R: the rows' clock after the step.
        remask_RL: unmasked positions to mask again, or None.
        score_RL: the order's unperturbed scores, where later steps want them.
    """

    chosen_RL: Tensor
    time_R: Tensor
    remask_RL: Tensor | None = None
    score_RL: Tensor | None = None


class SamplerPlan(Protocol):
    """What samplers read of a :class:`unmask.decoding.plan.DecodingPlan`."""

    @property
    def order_leaf(self) -> Order: ...
    @property
    def quota_leaf(self) -> Quota: ...
    @property
    def remasker(self) -> Remasker | None: ...


class Sampler(Leaf):
    """Decides a step. A pure function of plan, canvas and candidates: asked twice, it answers the same.

    Attributes:
        uses: the plan's settings it reads among ``order``, ``quota``, ``steps``, ``remasking``; a plan that sets one in
            vain is refused.
        exact: True if one forward a token at temperature 1 gives the model's own joint law.
    """

    uses: ClassVar[frozenset[str]] = frozenset()
    exact: ClassVar[bool] = False

    def move(self, plan: SamplerPlan, canvas: SamplerState, candidates: Candidates) -> SamplerStep:
        """What to do at this step; asking ``candidates`` for statistics costs a forward."""
        raise NotImplementedError

    def block_done(self, plan: SamplerPlan, canvas: SamplerState) -> Tensor:
        """Rows whose open block is finished [R]; asked after each step."""
        return ~canvas.open_RL.any(1)


samplers: Registry[Sampler] = Registry("sampler", "unmask.decoding.samplers", Sampler)
