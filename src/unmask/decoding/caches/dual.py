from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.decoding.cache import BlockCache
from unmask.decoding.state import SamplerState


@dataclass(frozen=True)
class Dual(BlockCache):
    """Only the open block is run; what stands before it and behind it is remembered from the block's start."""

    reference = "arXiv 2505.22618"

    def active(self, canvas: SamplerState) -> Tensor:
        return canvas.inside_RL
