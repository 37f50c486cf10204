"""Where a model runs: the one place that reads the name of a device."""

from __future__ import annotations

import torch

from unmask.core.errors import UsageError


def device_of(name: str | torch.device | None = None) -> torch.device:
    """The :class:`torch.device` of a name, checked against what this machine has.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` ...; None takes CUDA where there is one, else the CPU.

    Raises:
        UsageError: torch knows no such device, or this machine has none.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        where = torch.device(name)
        kind = torch.get_device_module(where)
    except RuntimeError as error:
        raise UsageError(f"device={str(name)!r} is not one: write cpu, cuda, cuda:0 or mps") from error
    count = kind.device_count()
    if (where.index or 0) >= count:
        raise UsageError(
            f"device={str(name)!r} is not on this machine, where torch finds {count} of the kind: write cpu"
        )
    return where
