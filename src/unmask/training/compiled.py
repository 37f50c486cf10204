"""Blocks compiled for a few static shapes while a run trains (``compile_blocks``).

A whole network cannot be compiled for static shapes, because the number of masked rows changes from step to step
(decision 0008). Its blocks can: they see batches of as many rows and few widths. What runs outside the training steps,
and shapes beyond the first :data:`SHAPES`, runs as it is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger("unmask")

#: shapes that are compiled for
SHAPES = 6


class _Block:
    """A block's ``forward``: compiled in a training step and for the first shapes, else as it is."""

    def __init__(self, block: nn.Module, shapes: set[tuple[int, ...]], backend: Any) -> None:
        self.block, self.shapes = block, shapes
        self.plain: Callable[..., Tensor] = block.forward
        self.compiled: Callable[..., Tensor] = torch.compile(block.forward, dynamic=False, backend=backend)

    def __call__(
        self,
        x_BLD: Tensor,
        turn: Any,
        mask: Tensor | None,
        steer_BD: Tensor | None,
        latent_BMD: Tensor | None,
        relations_RLL: Tensor | None,
        memory: Any = None,
        layer: int = 0,
        at: Any = None,
    ) -> Tensor:
        given = (x_BLD, turn, mask, steer_BD, latent_BMD, relations_RLL)
        if not (self.block.training and torch.is_grad_enabled() and memory is None and self._known(x_BLD)):
            return self.plain(*given, memory, layer, at)
        out_BLD = self.compiled(*given)
        # the last block's rows are as many as there are masked positions: all run, for one shape more costs more
        return out_BLD if at is None else out_BLD[at]

    def _known(self, x_BLD: Tensor) -> bool:
        shape = tuple(x_BLD.shape)
        if shape not in self.shapes and len(self.shapes) < SHAPES:
            self.shapes.add(shape)
        return shape in self.shapes


@contextmanager
def compiled_blocks(net: Any, backend: Any = "inductor") -> Iterator[None]:
    """Inside, a network's blocks are compiled as they meet their shapes; outside it is what it was.

    Args:
        net: a network with ``blocks``.
        backend: of ``torch.compile``.
    """
    # torch's own place is the temporary folder, which a machine empties
    root = Path(os.environ.get("UNMASK_CACHE") or "~/.cache/unmask").expanduser()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(root / "compiled"))
    why = unfit(backend)
    if why is not None:
        log.warning("compile_blocks: nothing can be compiled here (%s), the blocks run as they are", why)
        yield
        return
    shapes: set[tuple[int, ...]] = set()
    for block in net.blocks:
        block.forward = _Block(block, shapes, backend)
    try:
        yield
    finally:
        for block in net.blocks:
            del block.forward


def unfit(backend: Any = "inductor") -> str | None:
    """Why nothing can be compiled on this machine, such as a missing C++ compiler; None where it can."""
    try:
        torch.compile(_tried, dynamic=False, backend=backend)(torch.ones(8))
    except Exception as error:  # the compiler's, and torch's wrapping of it, are of many classes
        # torch's own sentence comes first, the compiler's behind it
        return " ".join(str(error).split("\n")[:2])
    return None


def _tried(x_N: Tensor) -> Tensor:
    return x_N.sin() + 1
