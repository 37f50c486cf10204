"""Denoisers for decoding tests: a joint that can be enumerated, and a tiny fp32 network with every option."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from oracles import JointDenoiser
from unmask.core.condition import Condition
from unmask.core.denoiser import Body, Denoiser

VOCAB, MASK, PAD, EOS = 23, 22, 0, 1


class LookupDenoiser(JointDenoiser):
    """The same answers as its parent, looked up in a table of all partly hidden states: fast on thousands of rows."""

    def __init__(self, joint: Tensor) -> None:
        super().__init__(joint)
        self.base_L = self.vocab_size ** torch.arange(self.length - 1, -1, -1)
        self.table = super().marginals(self.states())

    def states(self) -> Tensor:
        return torch.tensor(list(itertools.product(range(self.vocab_size), repeat=self.length)))

    def marginals(self, x_BL: Tensor) -> Tensor:
        return self.table[(x_BL * self.base_L).sum(1)]

    def law_of(self, x_BL: Tensor) -> Tensor:
        """Counts of each full sequence, in the order of ``joint.flatten()``."""
        base_L = (self.vocab_size - 1) ** torch.arange(self.length - 1, -1, -1)
        return torch.bincount((x_BL * base_L).sum(1), minlength=self.joint.numel()).double()


def subsets(n: int) -> Iterator[tuple[int, ...]]:
    for k in range(n + 1):
        yield from itertools.combinations(range(n), k)


class TinyNet(Denoiser):
    """Random weights, tanh, mean over existing positions; every option of the contract changes its answer."""

    def __init__(
        self,
        *,
        seed: int = 0,
        width: int = 16,
        conditional: bool = False,
        wants_carry: bool = False,
        sharp: float = 3.0,
    ) -> None:
        self.vocab_size, self.mask_id, self.pad_id, self.eos_id = VOCAB, MASK, PAD, EOS
        self.conditional, self.wants_carry = conditional, wants_carry
        g = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g) / shape[0] ** 0.5

        self.embed, self.place = 4 * draw(VOCAB, width), 4 * draw(64, width)
        self.mix, self.near, self.recall, self.sem = (draw(width, width) for _ in range(4))
        self.out, self.clock = sharp * draw(width, VOCAB), draw(width)
        self.calls: list[int] = []

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        self.calls.append(len(x_BL))
        valid = torch.ones_like(x_BL, dtype=torch.bool) if valid_BL is None else valid_BL
        place = (valid.long().cumsum(1) - 1).clamp(min=0)
        h = (self.embed[x_BL] + self.place[place]) * valid[..., None]
        mean = h.sum(1, keepdim=True) / valid.sum(1)[:, None, None]
        h = torch.tanh(h + mean @ self.mix)
        if t_B is not None:
            h = h + t_B[:, None, None] * self.clock
        if cond is not None and self.conditional:
            h = h + ((cond.latent_BZ * cond.present_B[:, None]) @ self.sem)[:, None]
        if carry is not None:
            h = h + carry @ self.recall
        h = torch.tanh(h @ self.near) * 2
        return Body(h, carry=h if self.wants_carry else None)

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return h_ND, self.out.T, None


class ToyMemory:
    """Two tensors a position."""

    def __init__(self, *parts: Tensor) -> None:
        self.parts = parts

    def index_rows(self, rows: Tensor) -> ToyMemory:
        return ToyMemory(*(part[rows] for part in self.parts))

    def put_rows(self, rows: Tensor, other: ToyMemory) -> None:
        for mine, new in zip(self.parts, other.parts, strict=True):
            mine[rows] = new


class CachingNet(TinyNet):
    """Positions look at each other twice, so what is remembered of the second look grows old."""

    can_cache = True

    def body(self, x_BL: Tensor, *args: Any, carry: Any = None, **kwargs: Any) -> Body:
        return Body(self.cached_body(x_BL, *args, **kwargs)[0])

    def cached_body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        at_BL: Tensor | None = None,
        memory: ToyMemory | None = None,
    ) -> tuple[Tensor, ToyMemory]:
        self.calls.append(len(x_BL))
        valid = torch.ones_like(x_BL, dtype=torch.bool) if valid_BL is None else valid_BL
        h = self.embed[x_BL] + self.place[: x_BL.shape[1]]
        kept = []
        for look, was in enumerate((None, None) if memory is None else memory.parts):
            mean = (h * valid[..., None]).sum(1, keepdim=True) / valid.sum(1)[:, None, None]
            h = torch.tanh(h + 2 * mean @ (self.near if look else self.mix))
            if was is not None and at_BL is not None:
                h = torch.where(at_BL[..., None], h, was)
            kept.append(h)
        return 2 * h, ToyMemory(*kept)


def canvas(rows: int = 4, length: int = 12, prompt: int = 3, seed: int = 0) -> Tensor:
    """Prompts of different lengths, the rest hidden."""
    g = torch.Generator().manual_seed(seed)
    x_BL = torch.full((rows, length), MASK)
    for r in range(rows):
        n = (prompt + r) % (length - 2)
        x_BL[r, :n] = torch.randint(2, MASK, (n,), generator=g)
    return x_BL
