"""Arrays with a number a row: in memory while they are small, else in a temporary file that vanishes with them."""

from __future__ import annotations

import ctypes
import sys
import tempfile
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

#: numbers up to which an array stays in memory
IN_MEMORY = 2**18


def room(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An uninitialised array; a large one is a memory map on disk (see ``TMPDIR``), whose pages can be evicted."""
    if np.prod(shape, dtype=np.int64) <= IN_MEMORY:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=shape)


def kept(array: NDArray[Any]) -> NDArray[Any]:
    """The same array, copied into a memory map where it is large (:func:`room`)."""
    if array.size <= IN_MEMORY or isinstance(array, np.memmap):
        return array
    copy = room(array.shape, array.dtype)
    copy[...] = array
    return copy


def give_back() -> None:
    """Hand freed memory back to the system where the C library keeps it (glibc does): after work on a whole corpus it
    would otherwise stay with the process, some 30 bytes a row."""
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim(0)
