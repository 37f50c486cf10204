"""What faults of a key-value cache share where they are planted into a measurement of :mod:`unmask.kvcache`.

None of them is reachable from a measurement: the class of a planted cache is passed in by name.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unmask.kvcache.positions import PositionedCache


def misplaced(position: Callable[[int, int, int], int]) -> type[PositionedCache]:
    """A class of cache that gives its next token a position of its own, those after it the following ones.

    Masks are those that transformers makes: by slot, blind to where a key came from.

    Args:
        position: from the true position, the entries held and the length of the prefill, the position given.
    """

    class Misplaced(PositionedCache):
        prefill = 0

        def _next(self, length: int) -> Tensor:
            true, held = int(self.next_B[0]), self.slots()[0]
            if held and not self.prefill:
                self.prefill = true
            first = position(true, held, self.prefill)
            return (first + torch.arange(length, device=self.next_B.device)).expand(len(self.next_B), -1)

        def _masks(self, pos_BL: Tensor) -> list[Tensor] | None:
            return None

    return Misplaced


class StoredOrder(PositionedCache):
    """Keys shuffled in storage: *no* fault, though often blamed. Attention does not see the order of its keys."""

    def select(self, layer: int, slots_BHN: Tensor) -> None:
        noise = torch.Generator().manual_seed(layer)
        order_N = torch.randperm(slots_BHN.shape[-1], generator=noise).to(slots_BHN.device)
        super().select(layer, slots_BHN[..., order_N])
