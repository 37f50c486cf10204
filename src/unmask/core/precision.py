"""Which precision this machine multiplies fastest in: measured on the shapes at hand, remembered for the machine.

Whether bf16 matrix products are faster than fp32 ones is a property of the processor: from four times faster (AMX) to
nearly half as fast, and nothing in a processor's name says which. So the shapes that will be used are timed once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from unmask.core.errors import UsageError
from unmask.core.files import cache_root, write_json
from unmask.core.sampling_config import PRECISIONS as PRECISIONS

Precision = Literal["fp32", "bf16"]
#: (rows, inputs, outputs) of a linear layer
MatmulShape = tuple[int, int, int]

#: seconds a measurement may take, both precisions together
BUDGET = 0.4
#: rows and outputs that are timed at most: the ratio does not change beyond, the time does
_ROWS, _OUTPUTS = 1024, 2048
#: shapes that are timed at most, those with the most arithmetic first
_SHAPES = 3


@dataclass(frozen=True)
class Choice:
    """A chosen precision with the reason for it.

    Attributes:
        precision: ``fp32`` or ``bf16``, what the products run in.
        why: one line for the reader: what was measured, or who said so.
    """

    precision: Precision
    why: str

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def autocast(self, device: torch.device | str) -> torch.autocast:
        """The autocast context of this precision; fp32 weights stay fp32."""
        return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=self.precision == "bf16")

    def __str__(self) -> str:
        return f"precision {self.precision} ({self.why})"


def choose_precision(
    asked: str, shapes: Sequence[MatmulShape], device: torch.device | str = "cpu", *, backward: bool = False
) -> Choice:
    """The precision (fp32 or bf16) to compute in, on a CPU the one that was measured to be faster.

    Args:
        asked: ``fp32``, ``bf16``, or ``auto``: bf16 on a GPU that has it; on a CPU whichever multiplied ``shapes``
            faster here, measured once a processor, thread count and version of PyTorch and kept in ``$UNMASK_CACHE``
            or ``~/.cache/unmask``. The environment's ``UNMASK_PRECISION`` takes the place of ``auto``.
        shapes: (rows, inputs, outputs) of the linear layers that will run; :func:`shapes_of` finds them.
        device: where they will run.
        backward: time the gradients' products too.

    Raises:
        UsageError: another word than the three.
    """
    if asked == "auto":
        asked = os.environ.get("UNMASK_PRECISION") or "auto"
    if asked == "fp32" or asked == "bf16":
        return Choice(asked, "as asked")  # type: ignore[arg-type]
    if asked != "auto":
        raise UsageError(f"precision={asked!r} must be 'auto', 'fp32' or 'bf16'")
    kind = torch.device(device).type
    if kind == "cuda":
        return Choice("bf16", "a GPU") if torch.cuda.is_bf16_supported() else Choice("fp32", "a GPU without bf16")
    if kind != "cpu":
        return Choice("fp32", f"not measured on {kind}")
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return Choice("fp32", "a processor without bf16 instructions")
    if not shapes:
        return Choice("fp32", "no matrix products")
    fp32, bf16 = _remembered(_largest(shapes), backward)
    speeds = f"{fp32:.0f} GFLOP/s in fp32, {bf16:.0f} in bf16 on this machine"
    return Choice("bf16" if bf16 > fp32 else "fp32", speeds)


def fastest(
    module: object,
    rows: int,
    device: torch.device | str,
    asked: str = "auto",
    *,
    head: MatmulShape | None = None,
    backward: bool = False,
) -> Choice:
    """The precision for a module that is applied to so many rows (positions) at once: see :func:`choose_precision`.

    Args:
        module: its matrices count, but for tables of embeddings.
        rows, device, asked, backward: as of :func:`choose_precision`.
        head: the shape of the output head where it multiplies with a table of embeddings.
    """
    return choose_precision(asked, [*shapes_of(module, rows), *([head] if head else [])], device, backward=backward)


def shapes_of(module: object, rows: int) -> list[MatmulShape]:
    """(rows, inputs, outputs) of every layer that multiplies with a matrix, one entry a layer.

    None of a denoiser that is no torch module: what it computes in is its own affair.
    """
    if not isinstance(module, nn.Module):
        return []
    weights = [getattr(m, "weight", None) for m in module.modules() if not isinstance(m, nn.Embedding)]
    return [(rows, w.shape[1], w.shape[0]) for w in weights if isinstance(w, torch.Tensor) and w.ndim == 2]


def _largest(shapes: Sequence[MatmulShape]) -> tuple[MatmulShape, ...]:
    """The distinct shapes that hold the most arithmetic, rows and outputs capped."""
    flops: dict[MatmulShape, int] = {}
    for rows, inputs, outputs in shapes:
        shape = (min(rows, _ROWS), inputs, min(outputs, _OUTPUTS))
        flops[shape] = flops.get(shape, 0) + rows * inputs * outputs
    return tuple(sorted(flops, key=lambda s: (-flops[s], s))[:_SHAPES])


def measured_gflops(
    shapes: Sequence[MatmulShape], *, backward: bool = False, budget: float = BUDGET
) -> tuple[float, float]:
    """GFLOP/s of linear layers on the CPU in fp32 and in bf16 autocast, as a whole over the shapes.

    The two take turns, and each shape counts with its fastest turn: other work on the machine slows single turns.

    Args:
        shapes: (rows, inputs, outputs).
        backward: the gradients' products too.
        budget: seconds after which no further turn begins.
    """
    best = [[float("inf")] * len(shapes) for _ in range(2)]
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        inputs = [[torch.randn(size, k, requires_grad=backward) for size in (m, n)] for m, k, n in shapes]
        for turn in range(8):
            for i, (x, weight) in enumerate(inputs):
                for low in (False, True):
                    seconds = _turn(x, weight, low, backward)
                    if turn:  # the first one makes kernels and touches memory
                        best[low][i] = min(best[low][i], seconds)
            if turn and time.perf_counter() - started > budget:
                break
    work = sum(2 * m * k * n * (3 if backward else 1) for m, k, n in shapes) / 1e9
    return work / sum(best[0]), work / sum(best[1])


def _turn(x: torch.Tensor, weight: torch.Tensor, low: bool, backward: bool) -> float:
    started = time.perf_counter()
    with torch.set_grad_enabled(backward), torch.autocast("cpu", torch.bfloat16, enabled=low):
        y = F.linear(x, weight)
    if backward:
        y.backward(torch.ones_like(y))
    return time.perf_counter() - started


@lru_cache(maxsize=256)
def _remembered(shapes: tuple[MatmulShape, ...], backward: bool) -> tuple[float, float]:
    named = [processor(), torch.__version__, str(torch.get_num_threads()), repr(shapes), str(backward)]
    key = hashlib.sha256("|".join(named).encode()).hexdigest()[:24]
    file = cache_root() / "precision" / f"{key}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(file.read_text(encoding="utf-8"))
        return float(kept["fp32"]), float(kept["bf16"])
    fp32, bf16 = measured_gflops(shapes, backward=backward)
    with contextlib.suppress(OSError):  # a machine without a place to remember measures again
        write_json(file, {"fp32": fp32, "bf16": bf16, "of": named})
    return fp32, bf16


@lru_cache(maxsize=1)
def processor() -> str:
    """What tells this processor from others: its model and instruction sets, of which a hypervisor may hide some."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
        pairs = [line.split(":", 1) for line in lines if ":" in line]
        facts = {name.strip(): value.strip() for name, value in pairs}
        flags = hashlib.sha256(facts.get("flags", "").encode()).hexdigest()[:12]
        named = [facts.get(name, "") for name in ("model name", "cpu family", "model", "stepping")]
        return " ".join([*named, flags])
    return f"{platform.machine()} {platform.processor()} {torch.backends.cpu.get_cpu_capability()}"
