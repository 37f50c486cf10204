"""A stationary Markov chain: conditionals of any masked set by messages from both sides."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from unmask.auditing.exact import ExactLaw, draw_ids


class Chain(ExactLaw):
    """x_1 from the stationary law, x_{i+1} from a row of the transition matrix.

    Args:
        vocab: states; the mask is one more id.
        length: positions.
        sharp: scale of the transitions' random logits; larger is more predictable.
        seed: of the transitions.
    """

    name = "chain"

    def __init__(self, vocab: int = 64, length: int = 32, sharp: float = 2.0, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.step_VV = (sharp * torch.randn(vocab, vocab, generator=draw, dtype=torch.float64)).softmax(1)
        self.vocab_size, self.mask_id, self.length = vocab + 1, vocab, length

    @cached_property
    def start_V(self) -> Tensor:
        """The stationary law."""
        return torch.linalg.matrix_power(self.step_VV, 1 << 20)[0]

    def log_marginals(self, x_BL: Tensor, z_B: Tensor | None = None) -> Tensor:
        left_BLV, right_BLV = self._messages(x_BL)
        return self.log_of(left_BLV * right_BLV, x_BL)

    def _messages(self, x_BL: Tensor) -> tuple[Tensor, Tensor]:
        """What the left side says of each position, and the likelihood of the right side, each [B, L, V]."""
        rows, length = x_BL.shape
        seen_BL = x_BL != self.mask_id
        own_BLV = self.own(x_BL)
        left, right = torch.empty_like(own_BLV), torch.empty_like(own_BLV)
        now_BV = self.start_V.expand(rows, -1)
        for i in range(length):
            left[:, i] = now_BV
            now_BV = torch.where(seen_BL[:, i, None], own_BLV[:, i], now_BV) @ self.step_VV
        now_BV = torch.ones(rows, self.mask_id, dtype=torch.float64)
        for i in reversed(range(length)):
            right[:, i] = now_BV
            now_BV = torch.where(seen_BL[:, i, None], own_BLV[:, i] * now_BV, now_BV) @ self.step_VV.T
            now_BV = now_BV / now_BV.amax(1, keepdim=True)
        return left, right

    def log_prob(self, x_BL: Tensor, z_B: Tensor | None = None) -> Tensor:
        return self.start_V[x_BL[:, 0]].log() + self.step_VV[x_BL[:, :-1], x_BL[:, 1:]].log().sum(1)

    def exact(self, count: int, seed: int, z_B: Tensor | None = None) -> Tensor:
        draw = torch.Generator().manual_seed(seed)
        ids = [draw_ids(self.start_V.expand(count, -1), draw)]
        for _ in range(1, self.length):
            ids.append(draw_ids(self.step_VV[ids[-1]], draw))
        return torch.stack(ids, 1)

    @property
    def entropy(self) -> float:
        return self.distance_entropy(None) + (self.length - 1) * self.distance_entropy(1)

    def distance_entropy(self, distance: int | None) -> float:
        """H(x_{i + distance} | x_i), nats; of a position alone where ``distance`` is None (infinitely far)."""
        if distance is None:
            return float(-(self.start_V * self.start_V.log()).sum())
        p_VV = torch.linalg.matrix_power(self.step_VV, distance)
        return float(-(self.start_V[:, None] * torch.special.xlogy(p_VV, p_VV)).sum())
