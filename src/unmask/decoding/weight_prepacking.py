"""Weights laid out once for oneDNN, where PyTorch would lay them out anew for each product.

A forward of a sampler multiplies a few dozen to a few thousand rows with the same weights, dozens of times. On a CPU a
product with a weight that is already laid out takes 10 to 20 % less in fp32 and 10 % less in bf16, at 16 to 4,096 rows
(docs/decisions/0005-sampling-speed.md); under autocast the weight is cast once, too. Layouts live as long as one
generation: a weight changed behind PyTorch's back would not be noticed later.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

#: rows of all forwards together that pay for the layouts of a body; fewer rows a forward are as fast without
WORTH_ROWS, FEWEST_ROWS = 1024, 16
#: weights of one matrix: below, nothing is saved; above, a second copy of it costs too much memory
FEWEST, MOST = 2**12, 2**26
#: weights of all matrices together, for the same reason
MOST_TOGETHER = 2**28


def product_dtype(weight: Tensor) -> torch.dtype | None:
    """The dtype in which a product with ``weight`` runs, or None where oneDNN cannot take it over."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return None
    auto = torch.is_autocast_enabled("cpu") and weight.dtype != torch.float64
    dtype = torch.get_autocast_dtype("cpu") if auto else weight.dtype
    fits = dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype if fits else None


def lay_out(weight: Tensor, dtype: torch.dtype, rows: int) -> Tensor:
    """A copy of a weight [O, I], laid out for products with about this many rows."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype), rows)  # type: ignore[no-any-return]


def product(x: Tensor, laid_out: Tensor, bias: Tensor | None) -> Tensor:
    """``linear(x, weight, bias)`` with a weight from :func:`lay_out`, in its dtype."""
    return torch.ops.mkldnn._linear_pointwise.default(x, laid_out, bias, "none", [], "")  # type: ignore[no-any-return]


@contextmanager
def laid_out_body(denoiser: Any, forwards: int, rows: int) -> Iterator[None]:
    """Within, the denoiser's plain linear layers multiply with laid-out weights.

    Nothing changes for layers that are subclasses, hooked by others or compiled, for gradients, and off the CPU.

    Args:
        denoiser: the model; its weights must not change within.
        forwards: passes that are about to be made, about.
        rows: positions a pass.
    """
    changed: list[nn.Linear] = []
    if rows >= FEWEST_ROWS and forwards * rows >= WORTH_ROWS and isinstance(denoiser, nn.Module):
        changed = _plain(denoiser)
    for module in changed:
        module.forward = _Product(module, rows)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _plain(denoiser: nn.Module) -> list[nn.Linear]:
    modules = list(denoiser.modules())
    # what torch.compile made holds guards on these very modules: changing them would compile it again
    # (by name: to import torch._dynamo takes a second)
    compiled = any(m._compiled_call_impl is not None or type(m).__name__ == "OptimizedModule" for m in modules)
    if compiled or {"body", "body_at", "forward"} & denoiser.__dict__.keys():
        return []
    found = [m for m in modules if type(m) is nn.Linear and "forward" not in m.__dict__]
    found = [m for m in found if FEWEST <= m.weight.numel() <= MOST and m.weight.device.type == "cpu"]
    return found if sum(m.weight.numel() for m in found) <= MOST_TOGETHER else []


class _Product:
    """``nn.Linear.forward`` that lays its weight out when it is first asked, and again where the precision changes."""

    def __init__(self, module: nn.Linear, rows: int) -> None:
        self.module, self.rows = module, rows
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None
        self._asked: tuple[torch.dtype, torch.dtype | None] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        auto = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        if torch.is_grad_enabled() or not x.numel():
            return nn.functional.linear(x, self.module.weight, self.module.bias)
        if self._asked != (x.dtype, auto):
            self._prepare(x.dtype, auto)
        if self.weight is None:
            return nn.functional.linear(x, self.module.weight, self.module.bias)
        return product(x if auto is None else x.to(auto), self.weight, self.bias)

    def _prepare(self, dtype: torch.dtype, auto: torch.dtype | None) -> None:
        self._asked, self.weight, self.bias = (dtype, auto), None, None
        module, wanted = self.module, product_dtype(self.module.weight)
        if wanted is None or wanted != (dtype if auto is None else auto):
            return
        self.weight = lay_out(module.weight, wanted, self.rows)
        self.bias = None if module.bias is None else module.bias.detach().to(wanted)
