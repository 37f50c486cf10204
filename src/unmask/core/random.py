"""Noise that depends on what it is for, not on how the work was batched.

A draw is named by integers (seed, row, step, position, stream). The same names give the same number on any device, in
any batch, on any rank: a row alone, the row inside a batch of 64, and the row on rank 3 of 8 all see the same noise.
The generator is SplitMix64 used as a keyed hash (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195); numbers are
52-bit fp64 values strictly inside (0, 1), because fp32 noise truncates Gumbel draws at 16.64 (arXiv 2409.02908).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB


class Stream(IntEnum):
    """What a number is for. Two uses of one (seed, row, step, position) must not share noise."""

    VALUE = 1
    ORDER = 2
    TIE = 3
    REMASK = 4
    QUOTA = 5
    CORRUPT = 6
    TIME = 7
    DROP_CONDITION = 8
    SHUFFLE = 9
    BOTTLENECK = 10
    DROPOUT = 11
    LENGTH = 12
    LATENT_NOISE = 13
    DROP_HYPOTHESIS = 14


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's ``>>`` keeps the sign)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX1
    x = (x ^ _shift(x, 27)) * _MIX2
    return x ^ _shift(x, 31)


def _signed(x: int) -> int:
    """The int64 with the low 64 bits of ``x``."""
    return ((x + 2**63) & (2**64 - 1)) - 2**63


def _mix_number(x: int) -> int:
    """:func:`_mix` of one number, without a tensor: a few operations of torch on a scalar cost more than a draw."""
    x &= 2**64 - 1
    x = (x ^ (x >> 30)) * _MIX1 & (2**64 - 1)
    x = (x ^ (x >> 27)) * _MIX2 & (2**64 - 1)
    return _signed(x ^ (x >> 31))


def _hash_numbers(seed: int, names: Iterable[int]) -> int:
    """:func:`hashed` of plain numbers."""
    state = _mix_number(seed + _GOLDEN)
    for name in names:
        state = _mix_number(state + _GOLDEN + _mix_number(name + _GOLDEN))
    return state


def hashed(seed: int, *names: Tensor | int, device: torch.device | str | None = None) -> Tensor:
    """A counter-based hash: well-mixed int64 values, one for each element of the broadcast of ``names``."""
    if device is None and all(not isinstance(n, Tensor) or (n.numel() == 1 and n.device.type == "cpu") for n in names):
        # one number, as for each draw of a lone row: ten times faster than its few dozen tensor operations
        ndim = max((n.ndim for n in names if isinstance(n, Tensor)), default=0)
        return torch.full((1,) * ndim, _hash_numbers(seed, map(int, names)), dtype=torch.int64)
    if device is None:
        device = next((n.device for n in names if isinstance(n, Tensor)), torch.device("cpu"))
    state: Tensor | int = _mix_number(seed + _GOLDEN)
    for name in names:
        if isinstance(name, Tensor):
            value: Tensor | int = _mix(name.to(torch.int64) + _GOLDEN)
        else:
            value = _mix_number(int(name) + _GOLDEN)
        if isinstance(state, int) and isinstance(value, int):
            state = _mix_number(state + _GOLDEN + value)
        elif isinstance(value, int):
            state = _mix(state + _signed(_GOLDEN + value))
        else:
            state = _mix((_signed(state + _GOLDEN) if isinstance(state, int) else state + _GOLDEN) + value)
    return state if isinstance(state, Tensor) else torch.tensor(state, dtype=torch.int64, device=device)


def uniform(seed: int, *names: Tensor | int, device: torch.device | str | None = None) -> Tensor:
    """fp64 uniforms strictly inside (0, 1), a pure function of ``seed`` and ``names``.

    Args:
        seed: the run's seed.
        names: integers or integer tensors that broadcast together, e.g. ``row_N, step_N, position_N, Stream.VALUE``.
        device: where to make them when every name is a plain integer.
    """
    return (_shift(hashed(seed, *names, device=device), 12).double() + 0.5) * 2.0**-52


def generator(seed: int, *names: int) -> torch.Generator:
    """A CPU generator named like the numbers of :func:`uniform`, for what torch draws itself (randperm, randn)."""
    return torch.Generator().manual_seed(int(hashed(seed, *names)) & (2**63 - 1))
