"""In which order rows are trained on: a shuffle for every epoch that takes no memory, however long the corpus."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from unmask.core.errors import UsageError
from unmask.core.random import Stream, generator, hashed

_AT_ONCE = 8192
_ROUNDS = 4
#: steps whose rows are sorted by length among themselves
_WINDOW = 50
#: rows of a step by tokens are a multiple of it and of the step's parts, where that many fit
GRAIN = 8


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


class StepsByTokens:
    """Steps that hold as many tokens as fit, padding counted: short rows make steps of many rows, long ones of few.

    The rows of a window of the shuffle are sorted by length and cut from the longest down, so that about as many
    positions stand in each step; their order is shuffled (:class:`RowsByLength`). A step is a function of its number.

    Args:
        order: the shuffle; how many rows it draws is not looked at.
        lengths: int [rows]; of the data set's rows.
        tokens: most positions of a micro-batch, padding counted.
        parts: micro-batches of a step, all processes together. Each holds as many rows as any other of its step.
        width: the width that a batch is padded to whose longest row has so many tokens.

    Raises:
        UsageError: a micro-batch would not hold the longest row.
    """

    def __init__(self, order: ShuffledRows, lengths: Any, tokens: int, parts: int, width: Callable[[int], int]) -> None:
        widest = width(int(np.max(lengths)))
        if tokens < widest:
            raise UsageError(f"max_tokens={tokens} must be at least {widest}, the positions of the longest row")
        self.order, self.lengths, self.width = order, lengths, width
        self.rows, self.tokens, self.parts = order.rows, tokens * parts, parts
        #: rows of a step are a multiple of it, so that the usual numbers of parts split the same steps
        self.grain = math.lcm(GRAIN, parts)
        most = min(_WINDOW * max(parts, int(self.tokens / float(np.mean(lengths)))), order.rows)
        of = self.grain if most >= self.grain else parts
        self.window = max(of, most // of * of)
        # rows drawn up to the end of each step; the first step of each window
        self._ends: list[int] = []
        self._firsts: list[int] = []
        self._cut = lru_cache(maxsize=2)(self._cut_window)

    def drawn(self, step: int) -> int:
        """Rows of the first ``step`` steps."""
        while len(self._ends) < step:
            self._look()
        return self._ends[step - 1] if step else 0

    def of(self, passes: float) -> int:
        """How many steps are nearest to that many passes over the rows, one at least."""
        wanted = passes * self.rows
        while not self._ends or self._ends[-1] < wanted:
            self._look()
        after = bisect_right(self._ends, wanted)
        return min((abs(self.drawn(n) - wanted), n) for n in (max(after, 1), after + 1))[1]

    def at(self, step: int) -> Tensor:
        """The row numbers of a step [parts, rows of a part], counted from 0."""
        self.drawn(step + 1)
        number = bisect_right(self._firsts, step) - 1
        return self._cut(number)[step - self._firsts[number]].view(self.parts, -1)

    def _look(self) -> None:
        self._firsts.append(len(self._ends))
        for rows_N in self._cut(len(self._firsts) - 1):
            self._ends.append(len(rows_N) + (self._ends[-1] if self._ends else 0))

    def _cut_window(self, number: int) -> list[Tensor]:
        row_N = self.order.at(torch.arange(number * self.window, (number + 1) * self.window))
        length_N = np.asarray(self.lengths[row_N.numpy()], np.int64)
        longest_first_N = torch.from_numpy(np.argsort(-length_N, kind="stable"))
        width_N = np.array([self.width(int(n)) for n in range(int(length_N.max()) + 1)])[-np.sort(-length_N)]
        sizes = self._even(width_N)
        steps = list(row_N[longest_first_N].split(sizes))
        named = generator(self.order.seed, number, Stream.SHUFFLE)
        return [steps[int(i)] for i in torch.randperm(len(steps), generator=named)]

    def _even(self, width_N: NDArray[np.int64]) -> list[int]:
        """Rows of each step: as few steps as can be, and none of them nearly empty."""
        sizes, low, high = self._sizes(width_N, self.tokens), 0, self.tokens
        while high - low > self.tokens // 64 + 1:
            tokens = (low + high) // 2
            if tokens >= self.parts * width_N[0] and len(fewer := self._sizes(width_N, tokens)) == len(sizes):
                sizes, high = fewer, tokens
            else:
                low = tokens
        return sizes

    def _sizes(self, width_N: NDArray[np.int64], tokens: int) -> list[int]:
        sizes, at = [], 0
        while at < len(width_N):
            fits = tokens // int(width_N[at])
            of = self.grain if fits >= self.grain else self.parts
            sizes.append(min(fits // of * of, len(width_N) - at))
            at += sizes[-1]
        return sizes


class BatchesOfSteps(Sampler[list[int]]):
    """The micro-batches of one process, step after step.

    Args:
        steps: what their rows are.
        total: steps.
        micros: micro-batches of a step and process.
        world, me: processes, and which one this is.
    """

    def __init__(self, steps: StepsByTokens, total: int, micros: int, world: int, me: int) -> None:
        self.steps, self.total, self.micros, self.world, self.me = steps, total, micros, world, me

    def __len__(self) -> int:
        return self.total * self.micros

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.total):
            rows_PN = self.steps.at(step)
            for micro in range(self.micros):
                yield rows_PN[micro * self.world + self.me].tolist()


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
