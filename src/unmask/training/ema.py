"""Exponential moving average of the weights: what is evaluated, shown and saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unmask.core.errors import CheckpointError
from unmask.models.weights import AVERAGE as FILE


class Ema:
    """An exponential moving average of a model's trained parameters in fp32, sharded where they are (FSDP).

    Args:
        model: the model.
        decay: share of the old average kept each step; early steps use (1 + n) / (10 + n) if that is less, so that the
            random start is forgotten quickly.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.average: dict[str, Tensor] = {
            n: p.detach().clone().float() for n, p in model.named_parameters() if p.requires_grad
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the averages towards the model's weights; call once an optimiser step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        live = list(self._live(model))
        if hasattr(live[0], "device_mesh"):
            # the model was sharded after these were made
            self.average = {n: split_like(m, p) for (n, m), p in zip(self.average.items(), live, strict=True)}
        mine = list(self.average.values())
        new = [p.detach().to(m.dtype) for m, p in zip(mine, live, strict=True)]
        torch._foreach_lerp_(mine, new, 1 - decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """A context in which the model holds the averages; its weights are restored afterwards, whatever happens."""
        live = list(self._live(model))
        kept = [p.detach().clone() for p in live]
        with torch.no_grad():
            for p, mean in zip(live, self.average.values(), strict=True):
                p.copy_(mean)
        try:
            yield
        finally:
            with torch.no_grad():
                for p, value in zip(live, kept, strict=True):
                    p.copy_(value)

    def full(self) -> dict[str, Tensor]:
        """The averages as whole tensors; where they are sharded, every process must call."""
        return {n: unsharded(v) for n, v in self.average.items()}

    def save(self, folder: str | Path, averages: dict[str, Tensor] | None = None) -> None:
        """Write the averages beside a checkpoint's weights; ``averages`` are those of :meth:`full` if at hand."""
        save_file(
            {n: v.contiguous() for n, v in (averages or self.full()).items()},
            str(Path(folder) / FILE),
            metadata={"updates": str(self.updates)},
        )

    def load(self, folder: str | Path) -> None:
        """Read the averages from beside a checkpoint's weights.

        Raises:
            CheckpointError: the file is missing or holds other weights.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise CheckpointError(
                f"{str(folder)!r} holds no {FILE}, so the weight average cannot go on; train with ema=0"
            )
        from safetensors import safe_open

        with safe_open(str(path), framework="pt") as handle:
            self.updates = int((handle.metadata() or {}).get("updates", 0))
        found = load_file(str(path))
        if found.keys() != self.average.keys():
            odd = sorted(found.keys() ^ self.average.keys())[:3]
            raise CheckpointError(f"{str(path)!r} holds the averages of another model (differs in {', '.join(odd)})")
        for name, value in found.items():
            self.average[name].copy_(split_like(value, self.average[name]))

    def _live(self, model: nn.Module) -> Iterator[nn.Parameter]:
        named = dict(model.named_parameters())
        return (named[n] for n in self.average)


def unsharded(value: Tensor) -> Tensor:
    """The full tensor of a sharded one (collective: every process must call); others as they are."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def split_like(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, sharded as another is and where it is."""
    if not hasattr(like, "device_mesh") or hasattr(value, "device_mesh"):
        return value.to(like.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
