"""Muon (kellerjordan.github.io/posts/muon) where PyTorch has none of its own: ``torch.optim.Muon`` came with 2.9."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

#: the quintic of the post, whose slope at zero is steepest, and how often it is applied
_A, _B, _C, _TIMES = 3.4445, -4.7750, 2.0315, 5


def orthogonal(update: Tensor) -> Tensor:
    """About U V^T of the update's singular value decomposition, in bf16 (Newton-Schulz; singular values .7 to 1.2)."""
    tall = update.shape[0] > update.shape[1]
    x = update.bfloat16()
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(_TIMES):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.T if tall else x


class OwnMuon(torch.optim.Optimizer):
    """The steps of ``torch.optim.Muon(..., adjust_lr_fn="original")`` with Nesterov momentum, and its state's names.

    Args:
        params: matrices.
        lr: step size; a matrix of more rows than columns takes sqrt(rows / columns) times as much.
        weight_decay: decoupled.
        momentum: decay of the mean of gradients.
    """

    def __init__(self, params: list[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                mean = state.setdefault("momentum_buffer", torch.zeros_like(p.grad))
                mean.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(mean, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * max(1, p.shape[0] / p.shape[1]) ** 0.5)
        return None


def muon(params: list[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """PyTorch's own where there is one."""
    if hasattr(torch.optim, "Muon"):
        return torch.optim.Muon(params, lr=lr, weight_decay=weight_decay, momentum=0.95, adjust_lr_fn="original")
    return OwnMuon(params, lr, weight_decay)
