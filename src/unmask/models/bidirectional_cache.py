"""What a bidirectional body remembers while only some of its positions are run.

Shapes: B batch, L positions, C positions run now, G key heads, K head width, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from unmask.core.errors import UsageError


@dataclass
class BidirectionalKVCache:
    """The key-value cache of a bidirectional body: each position as it was when last run; never kept in a module.

    Attributes:
        keys, values: [B, G, L, K] each, one a layer, rotated where the body rotates.
        state_BLD: what the body made of it, before the head.
        index_BC: positions being run, a row with fewer naming its last one again; None while all are.
        prefix: keys in front of the first position (latent tokens), which are never run again.
    """

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    state_BLD: Tensor | None = None
    index_BC: Tensor | None = None
    prefix: int = 0

    @classmethod
    def start(cls, memory: BidirectionalKVCache | None, at_BL: Tensor | None) -> BidirectionalKVCache:
        """An empty cache for a pass over all positions, or ``memory`` prepared for a pass over those of ``at_BL``.

        Raises:
            UsageError: some positions, and nothing remembered of the others.
        """
        if at_BL is None:
            return cls()
        if memory is None or memory.state_BLD is None:
            raise UsageError("positions can be run alone only beside a memory of the others: give memory with at_BL")
        return replace(memory, index_BC=packed(at_BL))

    def exchange(self, layer: int, k_BGCK: Tensor, v_BGCK: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of all positions of a layer, after those of the positions being run are stored."""
        if self.index_BC is None:
            assert len(self.keys) == layer, "layers are remembered in the order in which they are run"
            self.keys.append(k_BGCK)
            self.values.append(v_BGCK)
            return k_BGCK, v_BGCK
        at_BGCK = (self.index_BC + self.prefix)[:, None, :, None].expand_as(k_BGCK)
        for kept, new in ((self.keys[layer], k_BGCK), (self.values[layer], v_BGCK)):
            kept.scatter_(2, at_BGCK, new.to(kept.dtype))
        return self.keys[layer], self.values[layer]

    def finish(self, state: Tensor) -> Tensor:
        """The hidden states [B, L, D] of all positions, after those of the positions being run are stored."""
        if self.index_BC is None or self.state_BLD is None:
            self.state_BLD = state
        else:
            self.state_BLD.scatter_(1, self.index_BC[..., None].expand_as(state), state.to(self.state_BLD.dtype))
        return self.state_BLD

    def only(self, x_BL: Tensor, turn: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Ids [B, C] of the positions being run, and their cos and sin [B, 1, C, K/2]; all as given while all are."""
        if self.index_BC is None:
            return x_BL, turn
        cos_LK, sin_LK = turn
        return x_BL.gather(1, self.index_BC), (cos_LK[self.index_BC][:, None], sin_LK[self.index_BC][:, None])

    def _tensors(self) -> Iterator[Tensor]:
        yield from self.keys
        yield from self.values
        if self.state_BLD is not None:
            yield self.state_BLD

    def index_rows(self, rows: Tensor) -> BidirectionalKVCache:
        """A copy of these rows."""
        state_BLD = None if self.state_BLD is None else self.state_BLD[rows]
        return BidirectionalKVCache(
            [k[rows] for k in self.keys], [v[rows] for v in self.values], state_BLD, prefix=self.prefix
        )

    def put_rows(self, rows: Tensor, other: BidirectionalKVCache) -> None:
        """Replace these rows by another cache's."""
        for mine, new in zip(self._tensors(), other._tensors(), strict=True):
            mine[rows] = new


def packed(at_BL: Tensor) -> Tensor:
    """Positions of each row [B, C], from left to right; a row with fewer names its last one again."""
    count_B1 = at_BL.sum(1, keepdim=True)
    place_C = torch.arange(max(1, int(count_B1.max())), device=at_BL.device)
    # stable: True first, in order
    found_BL = at_BL.long().argsort(dim=1, descending=True, stable=True)
    return found_BL.gather(1, torch.minimum(place_C.expand(len(at_BL), -1), (count_B1 - 1).clamp(min=0)))
