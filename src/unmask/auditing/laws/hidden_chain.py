"""A hidden Markov chain: every position depends on every other one, and the conditionals are still exact."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from unmask.auditing.exact import ExactLaw, draw_ids


class HiddenChain(ExactLaw):
    """Hidden states follow a stationary chain; each writes a symbol.

    Args:
        vocab, states: symbols and hidden states; length: positions.
        sharp: scale of the random logits of both tables; larger is more predictable.
        seed: of the tables.
    """

    name = "hidden_chain"

    def __init__(self, vocab: int = 32, states: int = 8, length: int = 24, sharp: float = 2.0, seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.step_KK = (sharp * torch.randn(states, states, generator=draw, dtype=torch.float64)).softmax(1)
        self.write_KV = (sharp * torch.randn(states, vocab, generator=draw, dtype=torch.float64)).softmax(1)
        self.vocab_size, self.mask_id, self.length = vocab + 1, vocab, length

    @cached_property
    def start_K(self) -> Tensor:
        """The stationary law of the hidden states."""
        return torch.linalg.matrix_power(self.step_KK, 1 << 20)[0]

    def _evidence(self, x_BL: Tensor) -> Tensor:
        """p(what is seen at a position | its hidden state) [B, L, K]; 1 where it is masked."""
        seen = self.write_KV.T[x_BL.clamp(max=self.mask_id - 1)]
        return torch.where((x_BL != self.mask_id)[..., None], seen, 1.0)

    def log_marginals(self, x_BL: Tensor, z_B: Tensor | None = None) -> Tensor:
        e_BLK = self._evidence(x_BL)
        left, right = torch.empty_like(e_BLK), torch.empty_like(e_BLK)
        now_BK = self.start_K.expand(len(x_BL), -1)
        for i in range(x_BL.shape[1]):
            left[:, i] = now_BK
            now_BK = (now_BK * e_BLK[:, i]) @ self.step_KK
            now_BK = now_BK / now_BK.sum(1, keepdim=True)
        now_BK = torch.ones_like(now_BK)
        for i in reversed(range(x_BL.shape[1])):
            right[:, i] = now_BK
            now_BK = (now_BK * e_BLK[:, i]) @ self.step_KK.T
            now_BK = now_BK / now_BK.amax(1, keepdim=True)
        return self.log_of((left * right) @ self.write_KV, x_BL)

    def log_prob(self, x_BL: Tensor, z_B: Tensor | None = None) -> Tensor:
        now_BK, total_B = self.start_K.expand(len(x_BL), -1), torch.zeros(len(x_BL), dtype=torch.float64)
        for e_BK in self._evidence(x_BL).unbind(1):
            now_BK = now_BK * e_BK
            total_B = total_B + now_BK.sum(1).log()
            now_BK = (now_BK / now_BK.sum(1, keepdim=True)) @ self.step_KK
        return total_B

    def exact(self, count: int, seed: int, z_B: Tensor | None = None) -> Tensor:
        draw = torch.Generator().manual_seed(seed)
        state, ids = draw_ids(self.start_K.expand(count, -1), draw), []
        for _ in range(self.length):
            ids.append(draw_ids(self.write_KV[state], draw))
            state = draw_ids(self.step_KK[state], draw)
        return torch.stack(ids, 1)

    @cached_property
    def entropy(self) -> float:
        """By 20,000 exact draws: there is no closed form. Its standard error is a thousandth of a text's or so."""
        return float(-self.log_prob(self.exact(20_000, 0)).mean())
