"""Train and test sides that stay apart whatever the seeds: the side depends on what no symmetry changes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unmask.core.errors import UsageError

#: one class of equivalent puzzles in this many is for testing
TEST_ONE_IN = 16
SIDES = ("any", "train", "test")


def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: after it, a sum of values tells (nearly) as much as the sorted list of them."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def is_test(key_B: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """The side of each class key: about one in ``TEST_ONE_IN`` is True."""
    return mix(key_B) % np.uint64(TEST_ONE_IN) == 0


def check_side(side: str) -> None:
    """Raises:
    UsageError: ``side`` is none of ``SIDES``.
    """
    if side not in SIDES:
        raise UsageError(f"side={side!r} must be one of {', '.join(SIDES)}")
