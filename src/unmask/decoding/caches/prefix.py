from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from unmask.decoding.cache import BlockCache
from unmask.decoding.state import SamplerState


@dataclass(frozen=True)
class Prefix(BlockCache):
    """What stands before the open block is remembered from its start; the block and all behind it are run."""

    reference = "arXiv 2505.22618"

    def active(self, canvas: SamplerState) -> Tensor:
        return canvas.inside_RL.long().cumsum(1) > 0
