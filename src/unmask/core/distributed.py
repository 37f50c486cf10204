"""Work shared by the processes that ``torchrun`` or ``accelerate launch`` started.

Alone, every function here is the identity. With others, each process takes its share of the rows, and what they found
is put together in the order of the rows, so that nothing a user sees depends on how many there were. All processes of a
launch must make these calls together.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

import torch

T = TypeVar("T")
_joined = False


def world_size() -> int:
    """The number of processes of this launch; the first call initialises the process group."""
    global _joined
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return 1
    if not torch.distributed.is_initialized():
        from accelerate import PartialState

        # it reads the launcher's variables, takes NCCL with GPUs and gloo elsewhere, and picks this process's GPU
        PartialState(cpu=not torch.accelerator.is_available())
    if not _joined:
        _joined = True
        atexit.register(_leave)
    return torch.distributed.get_world_size()


def _leave() -> None:
    """End the group while Python is still whole.

    gloo's threads let go of Python objects; one that does so while the interpreter goes away aborts the process
    ("terminate called without an active exception"). After an error nothing is waited for: the others may be gone.
    """
    if getattr(sys, "last_value", None) is None and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def rank() -> int:
    """The rank of this process, from 0."""
    return torch.distributed.get_rank() if world_size() > 1 else 0


def is_main_process() -> bool:
    """Whether this is rank 0, the only one that writes files and logs."""
    return rank() == 0


def split_between_processes(rows: int) -> range:
    """The range of rows of this process: contiguous parts whose sizes differ by at most one."""
    world, me = world_size(), rank()
    return range(rows * me // world, rows * (me + 1) // world)


def gather_object(mine: Sequence[T]) -> list[T]:
    """The items of all processes in the order of their ranks, returned on every process."""
    if world_size() == 1:
        return list(mine)
    parts: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(parts, list(mine))
    return [item for part in parts for item in part]


def all_reduce_sum(mine: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes, returned on every process."""
    if world_size() > 1:
        mine = mine.clone()
        torch.distributed.all_reduce(mine)
    return mine


def broadcast_object(value: T | None) -> T:
    """The value of rank 0, returned on every process; those of the others are ignored."""
    if world_size() > 1:
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0)
        value = box[0]
    return value  # type: ignore[return-value]


def barrier() -> None:
    """Block until every process has reached this call."""
    if world_size() > 1:
        torch.distributed.barrier()
