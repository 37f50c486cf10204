"""Rows of data and states of them: what a subject is asked with.

Shapes: B batch, L length, Z latent (docs/notation.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.errors import UnmaskError

Split = Literal["held_out", "train"]
Kind = Literal["masked", "causal"]


class NotProvided(UnmaskError):
    """The subject does not say this about itself; the checks that need it are "not run", never "pass"."""


@dataclass(frozen=True)
class Batch:
    """Rows of data.

    Attributes:
        ids_BL: clean ids on one canvas: text, EOS, PAD.
        cond: semantic vectors, for a model that takes them.
        target_BL: what a loss is to be taken against where that differs from ``ids_BL``. A check changes targets
        without
            changing inputs this way: a training view must score against :attr:`targets`, and feed ``ids_BL``.
        texts: the texts, where the ids were made from some.
        valid_BL: False where a position does not exist (texts of different lengths side by side); None: all do.
    """

    ids_BL: Tensor
    cond: Condition | None = None
    target_BL: Tensor | None = None
    texts: tuple[str, ...] | None = None
    valid_BL: Tensor | None = None

    @property
    def targets(self) -> Tensor:
        return self.ids_BL if self.target_BL is None else self.target_BL

    def __len__(self) -> int:
        return len(self.ids_BL)

    def rows(self, first: int, last: int) -> Batch:
        """Rows ``first`` to ``last`` (exclusive)."""
        part = slice(first, last)
        return Batch(
            self.ids_BL[part],
            None if self.cond is None else self.cond[part],
            None if self.target_BL is None else self.target_BL[part],
            None if self.texts is None else self.texts[part],
            None if self.valid_BL is None else self.valid_BL[part],
        )


@dataclass(frozen=True)
class State:
    """What the network is shown at one moment of writing, and where an answer is wanted.

    Attributes:
        x_BL: ids; a masked model sees its mask id at what is hidden.
        at_BL: the positions to predict.
        cond: semantic vectors; rows not ``present`` are to get the null condition.
        t_B: time to pass instead of what inference would pass for this state, in the model's own unit; usually None.
        valid_BL: False where a position does not exist (padding of ragged batches); None means that all do.
    """

    x_BL: Tensor
    at_BL: Tensor
    cond: Condition | None = None
    t_B: Tensor | None = None
    valid_BL: Tensor | None = None

    def rows(self, first: int, last: int) -> State:
        """Rows ``first`` to ``last`` (exclusive)."""
        part = slice(first, last)
        parts = {n: None if getattr(self, n) is None else getattr(self, n)[part] for n in ("cond", "t_B", "valid_BL")}
        return replace(self, x_BL=self.x_BL[part], at_BL=self.at_BL[part], **parts)

    def to(self, device: torch.device) -> State:
        """The same state on another device."""
        moved = {n: None if getattr(self, n) is None else getattr(self, n).to(device) for n in ("t_B", "valid_BL")}
        cond = None if self.cond is None else self.cond.to(device)
        return replace(self, x_BL=self.x_BL.to(device), at_BL=self.at_BL.to(device), cond=cond, **moved)
