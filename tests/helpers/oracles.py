"""Denoisers whose answers are known exactly: what samplers, bounds and checks are tested against."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Body, Denoiser


class UniformDenoiser(Denoiser):
    """Every id but the mask equally likely: must score log(V - 1) a token under every honest estimator."""

    def __init__(self, vocab_size: int = 11, mask_id: int = 10, width: int = 4) -> None:
        self.vocab_size, self.mask_id, self.width = vocab_size, mask_id, width

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        return Body(torch.zeros(*x_BL.shape, self.width))

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        return h_ND, torch.zeros(self.vocab_size, self.width), None


class JointDenoiser(Denoiser):
    """The exact conditional marginals of a joint distribution over [L] ids in 0..V-2, id V-1 being the mask.

    Args:
        joint: probabilities, shape [V-1] * L.
    """

    def __init__(self, joint: Tensor) -> None:
        self.joint = joint.double() / joint.double().sum()
        self.length = joint.ndim
        self.vocab_size = joint.shape[0] + 1
        self.mask_id = self.vocab_size - 1
        self.forwards = 0
        self.rows_asked = 0

    def marginals(self, x_BL: Tensor) -> Tensor:
        """p(x_i | visible) [B, L, V]; a visible position has its own id."""
        out_BLV = torch.zeros(*x_BL.shape, self.vocab_size, dtype=torch.float64)
        for b, row in enumerate(x_BL.tolist()):
            index = tuple(slice(None) if v == self.mask_id else slice(v, v + 1) for v in row)
            sub = self.joint[index]
            sub = sub / sub.sum()
            for i in range(self.length):
                p = sub.sum(dim=[d for d in range(self.length) if d != i])
                if row[i] == self.mask_id:
                    out_BLV[b, i, :-1] = p
                else:
                    out_BLV[b, i, row[i]] = 1.0
        return out_BLV

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        self.forwards += 1
        return Body(self.marginals(x_BL).log())

    def project(self, h_ND: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        # log probabilities are the hidden state; -inf must not meet a 0 of the identity, so clamp far below
        return h_ND.clamp(min=-1e4), torch.eye(self.vocab_size, dtype=h_ND.dtype), None

    def head(self, h_ND: Tensor) -> Tensor:
        self.rows_asked += len(h_ND)
        return self.forbid(h_ND.clone())

    def log_prob(self, x_BL: Tensor) -> Tensor:
        """log p(x) in nats [B]."""
        return torch.stack([self.joint[tuple(row)].log() for row in x_BL.tolist()])

    def support(self) -> Tensor:
        """Every sequence [K, L] and, in the same order, ``joint.flatten()`` its probability."""
        return torch.tensor(list(itertools.product(range(self.vocab_size - 1), repeat=self.length)))


def toy_joint(seed: int = 0, vocab: int = 3, length: int = 3, sharp: float = 1.5) -> Tensor:
    """A joint with real dependence between positions."""
    g = torch.Generator().manual_seed(seed)
    return (sharp * torch.randn([vocab] * length, generator=g, dtype=torch.float64)).exp()
