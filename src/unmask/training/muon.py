"""Muon (kellerjordan.github.io/posts/muon): the steps of ``torch.optim.Muon``, with matrices of one shape together.

Its state has the names of PyTorch's own, so a checkpoint of either is gone on from by the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

#: the quintic of the post, whose slope at zero is steepest, and how often it is applied
_A, _B, _C, _TIMES = 3.4445, -4.7750, 2.0315, 5
#: columns a row from which it is cheaper to iterate on the products of the rows alone
_WIDE = 2


def orthogonal(update: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Matrices [..., M, N] orthogonalised: about U V^T of their decomposition U S V^T (singular values .7 to 1.2).

    Newton-Schulz: X <- P X with P = a + b G + c G^2 of G = X X^T, five times. In fp32, wide matrices are multiplied
    once with the product of all P: G <- P G P is as good, and small. bf16 is too coarse for that: what it rounds off
    small singular values, the next steps would blow up.

    Args:
        update: matrices.
        dtype: of the products, and of the answer.
    """
    tall = update.shape[-2] > update.shape[-1]
    x = update.to(dtype)
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    if dtype == torch.float32 and x.shape[-1] >= _WIDE * x.shape[-2]:
        x = _from_grams(x @ x.mT) @ x
    else:
        for _ in range(_TIMES):
            gram = x @ x.mT
            x = _added(x, _added(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.mT if tall else x


def _from_grams(gram: Tensor) -> Tensor:
    """The product of all P."""
    product = None
    for turn in range(_TIMES):
        p = _added(gram, gram, gram, beta=_B, alpha=_C)
        p.diagonal(dim1=-2, dim2=-1).add_(_A)
        product = p if product is None else p @ product
        if turn < _TIMES - 1:
            gram = p @ (gram @ p)
    assert product is not None
    return product


def _added(x: Tensor, a: Tensor, b: Tensor, **weights: float) -> Tensor:
    return (torch.addmm if x.ndim == 2 else torch.baddbmm)(x, a, b, **weights)


class Muon(torch.optim.Optimizer):
    """The steps of ``torch.optim.Muon(..., adjust_lr_fn="original")`` with Nesterov momentum, and its state's names.

    Args:
        params: matrices.
        lr: step size; a matrix of more rows than columns takes sqrt(rows / columns) times as much.
        weight_decay: decoupled.
        momentum: decay of the mean of gradients.
        dtype: of the products, see :func:`orthogonal`.
    """

    def __init__(
        self,
        params: list[nn.Parameter],
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        # the last five are said for PyTorch's own, which may go on from this one's state
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": True,
                "ns_coefficients": (_A, _B, _C),
                "eps": 1e-7,
                "ns_steps": _TIMES,
                "adjust_lr_fn": "original",
            },
        )
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # type: ignore[override]
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            grads = [p.grad for p in params]
            means = [self.state[p].setdefault("momentum_buffer", torch.zeros_like(p)) for p in params]
            torch._foreach_lerp_(means, grads, 1 - group["momentum"])
            updates = torch._foreach_lerp(grads, means, group["momentum"])
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            for same in self._together(params):
                found = orthogonal(torch.stack([updates[i] for i in same]), self.dtype)
                for i, update in zip(same, found, strict=True):
                    rows, columns = update.shape
                    params[i].add_(update, alpha=-group["lr"] * max(1, rows / columns) ** 0.5)
        return None

    def _together(self, params: list[nn.Parameter]) -> Iterator[list[int]]:
        """Which matrices to multiply in one go: those of one shape; in fp32 a CPU is faster with one by one."""
        shapes: dict[Any, list[int]] = {}
        for i, p in enumerate(params):
            alone = i if p.device.type == "cpu" and self.dtype == torch.float32 else None
            shapes.setdefault((p.shape, p.device, alone), []).append(i)
        yield from shapes.values()


def muon(
    params: list[nn.Parameter], lr: float, weight_decay: float, dtype: torch.dtype = torch.bfloat16, whole: bool = True
) -> torch.optim.Optimizer:
    """A Muon optimiser of matrices: :class:`Muon`, or PyTorch's own where they are sharded.

    Args:
        params, lr, weight_decay, dtype: see :class:`Muon`.
        whole: False where the matrices are spread over processes (FSDP): PyTorch's own multiplies those.
    """
    if not whole and hasattr(torch.optim, "Muon"):
        return torch.optim.Muon(params, lr=lr, weight_decay=weight_decay, momentum=0.95, adjust_lr_fn="original")
    return Muon(params, lr, weight_decay, dtype=dtype)
