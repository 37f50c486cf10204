"""Laws that a sampler's values may have been drawn from: the one that it tells, and those of known mistakes.

A sampler's own steps say what the network was shown and what was drawn, so that the likelihood of every drawn value can
be computed under any law. Two laws without free parameters are told apart by the ratio of their likelihoods: if the
first is true, the other is c nats likelier with a chance of at most exp(-c) (Markov's inequality).

Shapes: Q states asked about, L length, N values drawn, V vocabulary (docs/notation.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.registry import Leaf, Registry
from unmask.core.sampling import restrict
from unmask.diagnosis.statistics import tolerance
from unmask.diagnosis.subject import Generated, State

#: share of every law that is uniform: an impossible value costs some 14 + log V nats, not infinitely many
OPEN = 1e-6


@dataclass(frozen=True)
class DrawnTokens:
    """States of a sampler's steps and the values that were drawn from the answers to them.

    Attributes:
        out: what was written, with what was told of the draw.
        ask: log-probabilities [N, V] at the asked positions of a state.
        x_QL, before_QL: the canvas of each step and that of the step before (the same in a first step).
        at_QL: where a value was drawn and is still to be seen after the step.
        ids_N: these values.
        cond, earlier, later: the vector of each state's row, of the row before it and of the row behind it.
        t_Q: the time that was passed; None for a model without one.
        ends: the ids of a text's end and of the padding behind it, where these are drawn.
    """

    out: Generated
    ask: Callable[[State], Tensor]
    x_QL: Tensor
    before_QL: Tensor
    at_QL: Tensor
    ids_N: Tensor
    cond: Condition | None = None
    earlier: Condition | None = None
    later: Condition | None = None
    t_Q: Tensor | None = None
    ends: tuple[int, ...] = ()

    def answer(self, x_QL: Tensor | None = None, cond: Condition | None = None) -> Tensor:
        """Log-probabilities [N, V] of the network for other canvases or vectors than the steps' own."""
        x_QL = self.x_QL if x_QL is None else x_QL
        return self.ask(State(x_QL, self.at_QL, self.cond if cond is None else cond, self.t_Q))

    @cached_property
    def plain_NV(self) -> Tensor:
        """The network's answer under the row's own vector."""
        return self.answer()

    @cached_property
    def null_NV(self) -> Tensor:
        """The network's answer under the null condition; of a subject with vectors only."""
        assert self.cond is not None
        return self.answer(cond=self.cond.nulled())

    @property
    def guided(self) -> bool:
        """Whether two answers are mixed."""
        return self.cond is not None and self.out.guidance != 1

    def mixed(self, with_NV: Tensor, without_NV: Tensor, gamma: float | None = None) -> Tensor:
        """Guidance on logits: gamma of the first, 1 - gamma of the second."""
        gamma = self.out.guidance if gamma is None else gamma
        both_NV = torch.isfinite(with_NV) & torch.isfinite(without_NV)
        return torch.where(both_NV, torch.lerp(without_NV, with_NV, gamma), with_NV).log_softmax(-1)

    @cached_property
    def own_NV(self) -> Tensor:
        """What values are drawn from before temperature, top-k and top-p, as it is told."""
        return self.mixed(self.plain_NV, self.null_NV) if self.guided else self.plain_NV

    def told(self, logp_NV: Tensor, temperature: float | None = None) -> Tensor:
        """The law that is told, for other answers of the network, or at another temperature."""
        temperature = self.out.temperature if temperature is None else temperature
        return law_of(logp_NV, temperature, self.out.top_k, self.out.top_p)


class DrawLaw(Leaf):
    """A law that values may have been drawn from by mistake.

    Attributes:
        words: what values were drawn from then, in words that follow "drawn from".
        repair: what puts it right (:data:`unmask.diagnosis.repair.REPAIRS`).
    """

    words: ClassVar[str] = ""
    repair: ClassVar[str] = "sampler.law"

    @property
    def said(self) -> str:
        """:attr:`words`, with the settings."""
        return self.words

    def log_probs(self, drawn: DrawnTokens) -> Tensor | None:
        """Log-probabilities [N, V] under this law; None where it means nothing, or is the law that is told."""
        raise NotImplementedError


laws: Registry[DrawLaw] = Registry("law", "unmask.diagnosis.laws", DrawLaw)


def law_of(logp_NV: Tensor, temperature: float, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Log-probabilities of a draw at a temperature from what top-k and top-p leave.

    At temperature 0 the most probable ids. Ids within rounding of the edge of what is left are left too.
    """
    room = tolerance(torch.float32)
    if temperature == 0:
        best_N1 = logp_NV.amax(-1, keepdim=True)
        return torch.where(logp_NV >= best_N1 - room * best_N1.abs().clamp(min=1), 0.0, -torch.inf).log_softmax(-1)
    kept_NV = restrict(logp_NV, temperature=temperature, top_k=top_k, top_p=top_p)
    if top_k is not None or top_p is not None:
        scaled_NV = logp_NV / temperature
        least_N1 = kept_NV.masked_fill(~torch.isfinite(kept_NV), torch.inf).amin(-1, keepdim=True)
        kept_NV = torch.where(scaled_NV >= least_N1 - room * least_N1.abs().clamp(min=1), scaled_NV, -torch.inf)
    return kept_NV.log_softmax(-1)


def opened(logp_NV: Tensor) -> Tensor:
    """A law with a share :data:`OPEN` of the uniform one, so that every value has a probability."""
    floor = torch.full_like(logp_NV[..., :1], math.log(OPEN / logp_NV.shape[-1]))
    return torch.logaddexp(logp_NV + math.log1p(-OPEN), floor)
