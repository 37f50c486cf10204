"""Block caches: between refreshes only some positions run through the body; the others are remembered (Fast-dLLM).

A bidirectional model's keys change everywhere with every token, so remembered ones are an approximation, except where
nothing that they depend on changed: one layer, attention that does not look ahead, or a refresh at each step. How far
off it is can be measured: :func:`unmask.decoding.cache_error.cache_error`.
Shapes: R rows still being written, L length, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Denoiser
from unmask.core.errors import UsageError
from unmask.core.registry import Leaf, Registry
from unmask.decoding.state import SamplerState


@dataclass(frozen=True)
class BlockCache(Leaf):
    """Says which positions are run anew between two refreshes; a row is refreshed when anything else changed.

    So a row is refreshed at the start of each block, and when a hook, or an end of text, wrote outside it.

    Attributes:
        refresh: also refresh after this many steps; 1 is each step, which is exact and saves nothing, 0 never.
    """

    refresh: int = 0

    def __post_init__(self) -> None:
        if self.refresh < 0:
            raise UsageError(f"cache refresh={self.refresh} must be at least 0; 0 is only at the start of a block")

    @classmethod
    def examples(cls) -> list[BlockCache]:
        return [cls(), cls(refresh=2)]

    def active(self, canvas: SamplerState) -> Tensor:
        """Positions [R, L] that are run at each step: at least those of the open block."""
        raise NotImplementedError


caches: Registry[BlockCache] = Registry("cache", "unmask.decoding.caches", BlockCache)


def can_cache(denoiser: Denoiser) -> bool:
    """Whether a model answers for some positions while it remembers the others.

    Such a model has ``can_cache`` true and a method ::

        cached_body(x_BL, cond, t_B, *, valid_BL, at_BL=None, memory=None) -> (h_BLD, memory)

    Without ``at_BL`` it runs all positions into a new memory. With it, it runs those positions of ``x_BL`` only, puts
    them into ``memory`` in place of the old ones, and gives the others' states as they were. A memory has
    ``index_rows(rows)`` (a copy of these rows) and ``put_rows(rows, other)``.
    """
    return bool(getattr(denoiser, "can_cache", False))


@dataclass
class BlockKVCache:
    """What is remembered in one generation, row by row.

    Attributes:
        denoiser: a model that :func:`can_cache`.
        rule: which positions are run anew.
        body_rows: positions that the body was run on, both branches of guidance counted.
        memory: the model's.
        seen_RL: ids at each row's last refresh.
        age_R: steps since then.
        branches: 2 under guidance.

    Raises:
        UsageError: the model remembers nothing.
    """

    denoiser: Any
    rule: BlockCache
    body_rows: int = 0
    memory: Any = None
    seen_RL: Tensor | None = None
    age_R: Tensor | None = None
    branches: int = 1

    def __post_init__(self) -> None:
        if not can_cache(self.denoiser):
            raise UsageError(
                f"cache={caches.spec_of(self.rule)!r} needs a model that remembers keys, and this "
                f"{type(self.denoiser).__name__} does not: leave cache out"
            )

    def body(
        self, canvas: SamplerState, x_RL: Tensor, cond: Condition | None, t_R: Tensor, valid_RL: Tensor | None
    ) -> Tensor:
        """Hidden states [R, L, D], right at the active positions; with guidance R counts both branches."""
        self.branches = len(x_RL) // len(canvas)
        active_RL = self.rule.active(canvas)
        stale_R = self._stale(canvas, active_RL).repeat(self.branches)
        active_RL = active_RL.repeat(self.branches, 1)

        def run(rows: Any, at_RL: Tensor | None, memory: Any) -> tuple[Tensor, Any]:
            self.body_rows += x_RL[rows].numel() if at_RL is None else int(at_RL.sum())
            return self.denoiser.cached_body(  # type: ignore[no-any-return]
                x_RL[rows],
                None if cond is None else cond[rows],
                t_R[rows],
                valid_BL=None if valid_RL is None else valid_RL[rows],
                at_BL=at_RL,
                memory=memory,
            )

        if bool(stale_R.all()):
            h_RLD, self.memory = run(slice(None), None, None)
            return h_RLD
        if not bool(stale_R.any()):
            h_RLD, self.memory = run(slice(None), active_RL, self.memory)
            return h_RLD
        fresh, old = stale_R.nonzero()[:, 0], (~stale_R).nonzero()[:, 0]
        h_old, memory = run(old, active_RL[old], self.memory.index_rows(old))
        self.memory.put_rows(old, memory)
        h_new, memory = run(fresh, None, None)
        self.memory.put_rows(fresh, memory)
        h_RLD = h_new.new_empty(len(x_RL), *h_new.shape[1:])
        h_RLD[old], h_RLD[fresh] = h_old, h_new
        return h_RLD

    def _stale(self, canvas: SamplerState, active_RL: Tensor) -> Tensor:
        """Rows [R] that must be refreshed now: something changed that is not run anew, or they are too old."""
        x_RL = canvas.x_RL
        if self.seen_RL is None or self.age_R is None:
            self.seen_RL, self.age_R = x_RL, torch.ones_like(canvas.row_R)
            return torch.ones(len(canvas), dtype=torch.bool, device=x_RL.device)
        stale_R = ((x_RL != self.seen_RL) & ~active_RL).any(1)
        if self.rule.refresh:
            stale_R = stale_R | (self.age_R >= self.rule.refresh)
        self.seen_RL = torch.where(stale_R[:, None], x_RL, self.seen_RL)
        self.age_R = torch.where(stale_R, 1, self.age_R + 1)
        return stale_R

    def keep(self, rows: Tensor) -> None:
        """Only these rows of the canvas."""
        if self.seen_RL is None or self.age_R is None or self.memory is None:
            return
        total = len(self.seen_RL)
        self.memory = self.memory.index_rows(torch.cat([rows + i * total for i in range(self.branches)]))
        self.seen_RL, self.age_R = self.seen_RL[rows], self.age_R[rows]
