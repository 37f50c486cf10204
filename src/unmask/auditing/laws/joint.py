"""A small joint distribution with a semantic vector, every text of which can be enumerated."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from unmask.auditing.exact import ExactLaw


class Joint(ExactLaw):
    """A table of p(x | z), random, with dependence between all positions; z is uniform.

    Args:
        vocab, length: V - 1 symbols and L positions; V ** L states are tabulated.
        latents: semantic vectors; 0 for none.
        sharp: scale of the random log probabilities.
        seed: of the table.
    """

    name = "joint"

    def __init__(self, vocab: int = 4, length: int = 5, latents: int = 3, sharp: float = 1.5, seed: int = 0) -> None:
        self.vocab_size, self.mask_id, self.length, self.latents = vocab + 1, vocab, length, latents
        self.conditional = latents > 0
        draw = torch.Generator().manual_seed(seed)
        shape = (max(1, latents), vocab**length)
        p_ZX = (sharp * torch.randn(*shape, generator=draw, dtype=torch.float64)).softmax(1)
        #: the last row is the law without a vector: the mean over vectors
        self.p_ZX = torch.cat([p_ZX, p_ZX.mean(0, keepdim=True)])
        self.texts_XL = torch.tensor(list(itertools.product(range(vocab), repeat=length)))
        self._place_L = vocab ** torch.arange(length - 1, -1, -1)
        self._state_L = self.vocab_size ** torch.arange(length - 1, -1, -1)
        self._table_ZSLV = self._tabulate()

    def _tabulate(self) -> Tensor:
        """log p(x_i | visible) of every partly masked state, for every vector: [Z + 1, states, L, V - 1]."""
        vocab, length = self.mask_id, self.length
        joint = self.p_ZX.view(-1, *[vocab] * length)
        table = torch.empty(len(self.p_ZX), self.vocab_size**length, length, vocab, dtype=torch.float64)
        for number, state in enumerate(itertools.product(range(self.vocab_size), repeat=length)):
            index = (slice(None), *(slice(None) if v == vocab else slice(v, v + 1) for v in state))
            part = joint[index]
            part = part / part.sum(dim=tuple(range(1, length + 1)), keepdim=True)
            for i, v in enumerate(state):
                if v == vocab:
                    table[:, number, i] = part.sum(dim=[d + 1 for d in range(length) if d != i]).log()
                else:
                    table[:, number, i] = float("-inf")
                    table[:, number, i, v] = 0.0
        return table

    def _vector(self, z_B: Tensor | None, rows: int) -> Tensor:
        return torch.full((rows,), len(self.p_ZX) - 1) if z_B is None else z_B % len(self.p_ZX)

    def log_marginals(self, x_BL: Tensor, z_B: Tensor | None = None) -> Tensor:
        return self._table_ZSLV[self._vector(z_B, len(x_BL)), (x_BL * self._state_L).sum(1)]

    def log_prob(self, x_BL: Tensor, z_B: Tensor | None = None) -> Tensor:
        return self.p_ZX[self._vector(z_B, len(x_BL)), (x_BL * self._place_L).sum(1)].log()

    def exact(self, count: int, seed: int, z_B: Tensor | None = None) -> Tensor:
        u_B = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        vector_B, number_B = self._vector(z_B, count), torch.empty(count, dtype=torch.long)
        for z in vector_B.unique().tolist():  # a vector's table once, not once a text
            edges_X = self.p_ZX[z].cumsum(0)
            mine_B = vector_B == z
            number_B[mine_B] = torch.searchsorted(edges_X, u_B[mine_B] * edges_X[-1], right=True)
        return self.texts_XL[number_B.clamp(max=len(self.texts_XL) - 1)]

    def number(self, x_BL: Tensor) -> Tensor:
        """Which row of ``texts_XL`` each text is [B]."""
        return (x_BL * self._place_L).sum(1)

    @property
    def entropy(self) -> float:
        p = self.p_ZX[: max(1, self.latents)]
        return float(-torch.special.xlogy(p, p).sum(1).mean())
