"""In which order rows are trained on: a shuffle for every epoch that takes no memory, however long the corpus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from unmask.core.random import Stream, generator, hashed

_AT_ONCE = 8192
_ROUNDS = 4
#: steps whose rows are sorted by length among themselves
_WINDOW = 50


class ShuffledRows(Sampler[int]):
    """``total`` row numbers: epoch after epoch of all ``rows``, each epoch in an order of its own.

    The end of an epoch is no end of a batch: the next epoch goes on in the same one, so every optimiser step has as
    many rows as any other, however they are split. The number at a place is a function of (seed, place), so a run that
    goes on finds its rows at once.

    Args:
        rows: in the data set.
        total: to be drawn.
        seed: of the order.
    """

    def __init__(self, rows: int, total: int, seed: int) -> None:
        self.rows, self.total, self.seed = rows, total, seed

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[int]:
        for start in range(0, self.total, _AT_ONCE):
            yield from self.at(torch.arange(start, min(start + _AT_ONCE, self.total))).tolist()

    def at(self, place_N: Tensor) -> Tensor:
        """The row numbers at the given places of the order."""
        return shuffled(place_N % self.rows, self.rows, self.seed, place_N // self.rows)


class RowsByLength(Sampler[int]):
    """A shuffle in which the rows of a step are of similar length, so that little padding stands beside them.

    The rows of a window of steps are sorted by length and cut into steps, whose order is shuffled. A window is never
    longer than an epoch: no step holds a row more often than the shuffle brings it. Like the shuffle's, the number at a
    place is a function of (seed, place).

    Args:
        order: the shuffle.
        lengths: int [rows]; of the data set's rows.
        step: rows of an optimiser step.
    """

    def __init__(self, order: ShuffledRows, lengths: Any, step: int) -> None:
        self.order, self.lengths, self.step = order, lengths, step
        self.window = max(1, min(_WINDOW, order.rows // step)) * step

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        for number, start in enumerate(range(0, len(self), self.window)):
            yield from self._rows(number)[: len(self) - start].tolist()

    def _rows(self, number: int) -> Tensor:
        """The row numbers of a window."""
        row_N = self.order.at(torch.arange(number * self.window, (number + 1) * self.window))
        length_N = torch.from_numpy(np.asarray(self.lengths[row_N.numpy()], np.int64))
        steps_SN = row_N[length_N.argsort(stable=True)].view(-1, self.step)
        named = generator(self.order.seed, number, Stream.SHUFFLE)
        return steps_SN[torch.randperm(len(steps_SN), generator=named)].flatten()


def shuffled(place_N: Tensor, rows: int, seed: int, epoch_N: Tensor) -> Tensor:
    """The row number at each place of an epoch's shuffled order.

    A Feistel network (Luby & Rackoff 1988, doi:10.1137/0217022) permutes the numbers below the next power of four; one
    that lands outside the rows is sent through again until it is inside, so the rows are permuted among themselves.
    """
    bits = max(1, -(-max(rows - 1, 1).bit_length() // 2))
    low = (1 << bits) - 1
    out_N = place_N.clone()
    todo = torch.arange(len(place_N))
    while len(todo):
        left, right = out_N[todo] >> bits, out_N[todo] & low
        for turn in range(_ROUNDS):
            left, right = right, left ^ (hashed(seed, epoch_N[todo], turn, right, Stream.SHUFFLE) & low)
        out_N[todo] = (left << bits) | right
        todo = todo[out_N[todo] >= rows]
    return out_N
