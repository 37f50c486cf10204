"""An n-gram model of token sequences: a judge that needs no network, and a writer that means nothing.

Interpolated with weights that the counts themselves give (Witten & Bell 1991), down to the uniform distribution.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

#: stands before the first and behind the last item of a sequence
EDGE = None


class NgramModel:
    """Counts of runs of up to ``order`` items.

    Args:
        sequences: what is counted.
        order: 1 counts words alone, 2 pairs.
        kinds: size of the vocabulary, the end of a sequence included; unseen items share what is left by it.

    Raises:
        ValueError: an order below 1.
    """

    def __init__(self, sequences: Sequence[Sequence[Hashable]], order: int, kinds: int) -> None:
        if order < 1:
            raise ValueError(f"order={order} must be at least 1")
        self.order, self.kinds = order, kinds
        self._after: dict[tuple[Hashable, ...], Counter[Hashable]] = defaultdict(Counter)
        for sequence in sequences:
            padded = (EDGE,) * (order - 1) + tuple(sequence) + (EDGE,)
            for i in range(order - 1, len(padded)):
                for size in range(order):
                    self._after[padded[i - size : i]][padded[i]] += 1
        self._total = {past: sum(counts.values()) for past, counts in self._after.items()}

    def probability(self, past: tuple[Hashable, ...], item: Hashable) -> float:
        """Of an item (None: the end) behind the last ``order - 1`` items."""
        p = 1.0 / self.kinds
        for size in range(min(self.order - 1, len(past)) + 1):
            context = past[len(past) - size :]
            counts = self._after.get(context)
            if counts is None:
                break
            p = (counts[item] + len(counts) * p) / (self._total[context] + len(counts))
        return p

    def nats(self, sequence: Sequence[Hashable]) -> list[float]:
        """The cross-entropy of each item and of the end, nats."""
        past: tuple[Hashable, ...] = (EDGE,) * (self.order - 1)
        found = []
        for item in (*sequence, EDGE):
            found.append(-math.log(self.probability(past, item)))
            past = (*past, item)[1:] if self.order > 1 else ()
        return found

    def sample(self, count: int, longest: int, seed: int) -> list[list[Hashable]]:
        """Sequences drawn from the counts, each ended by the model itself or at ``longest`` items.

        The item is drawn at the longest context with the Witten-Bell chance of backing off to a shorter one; an unseen
        item is never drawn.
        """
        rng = np.random.default_rng(seed)
        return [self._one(rng, longest) for _ in range(count)]

    def _one(self, rng: np.random.Generator, longest: int) -> list[Hashable]:
        past: tuple[Hashable, ...] = (EDGE,) * (self.order - 1)
        written: list[Hashable] = []
        while len(written) < longest:
            counts = self._after[()]
            for size in range(min(self.order - 1, len(past)), 0, -1):
                context = past[len(past) - size :]
                found = self._after.get(context)
                if found is not None and rng.random() >= len(found) / (self._total[context] + len(found)):
                    counts = found
                    break
            items, times = list(counts), np.array(list(counts.values()), np.float64)
            item = items[int(rng.choice(len(items), p=times / times.sum()))]
            if item is EDGE:
                break
            written.append(item)
            past = (*past, item)[1:] if self.order > 1 else ()
        return written
