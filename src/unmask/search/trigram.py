"""A small word trigram of the training texts: which order of words is likely."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
#: how many counts of the shorter history a longer one weighs
_BIGRAM, _TRIGRAM = 5.0, 3.0


class Trigram:
    """Interpolated probabilities of a word after two others; ids 0..V-1 are words, V stands for every other word.

    Args:
        words: V.
        unigram: counts [V + 2]; of words, others, ends.
        bigrams, trigrams: (sorted keys, counts).
    """

    def __init__(
        self, words: int, unigram: NDArray[np.float32], bigrams: tuple[Ids, Ids], trigrams: tuple[Ids, Ids]
    ) -> None:
        self.words, self.unigram, self.bigrams, self.trigrams = words, unigram, bigrams, trigrams
        #: ids of a word that is not known, of the end, and of what stands before the start
        self.other, self.end, self.start = words, words + 1, words + 2
        self._base = words + 3
        self._p1 = (unigram + 0.5) / (unigram.sum() + 0.5 * len(unigram))
        # a history's count is the sum over what follows it
        history2 = bigrams[0] // self._base
        self._h1 = np.bincount(history2, bigrams[1], minlength=self._base).astype(np.float32)
        self._h2 = _summed(trigrams[0] // self._base, trigrams[1])

    @classmethod
    def counted(cls, rows: Iterable[Sequence[int]], words: int, rare: int = 1) -> Trigram:
        """From rows of ids.

        Args:
            rows: texts.
            words: V.
            rare: trigrams that stand there as often or less are left out when there are very many.
        """
        base, parts1, parts2, parts3 = words + 3, [], [], []
        for row in rows:
            ids = np.array([words + 2, words + 2, *row, words + 1], np.int64)
            parts1.append(ids[2:])
            parts2.append(ids[1:-1] * base + ids[2:])
            parts3.append((ids[:-2] * base + ids[1:-1]) * base + ids[2:])
        unigram = np.bincount(np.concatenate(parts1), minlength=words + 2).astype(np.float32)
        bigrams = np.unique(np.concatenate(parts2), return_counts=True)
        trigrams = np.unique(np.concatenate(parts3), return_counts=True)
        if len(trigrams[0]) > 500_000:
            keep = trigrams[1] > rare
            trigrams = trigrams[0][keep], trigrams[1][keep]
        return cls(words, unigram, bigrams, trigrams)

    def log_prob(self, a: Ids, b: Ids, c: Ids) -> NDArray[np.float32]:
        """ln p(c | a b), of arrays that broadcast together."""
        pair, base = b * self._base + c, self._base
        p = self._p1[np.minimum(c, self.end)]
        p = (_looked_up(self.bigrams, pair) + _BIGRAM * p) / (self._h1[b] + _BIGRAM)
        before = a * base + b
        p = (_looked_up(self.trigrams, before * base + c) + _TRIGRAM * p) / (_looked_up(self._h2, before) + _TRIGRAM)
        return np.log(p).astype(np.float32)

    def score(self, row: Sequence[int]) -> float:
        """Mean ln p a word of one text, its end included."""
        ids = np.array([self.start, self.start, *row, self.end], np.int64)
        return float(self.log_prob(ids[:-2], ids[1:-1], ids[2:]).mean())

    def scores(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """:meth:`score` of several, in one go."""
        if not rows:
            return []
        lengths = np.array([len(row) + 1 for row in rows])
        flat = np.concatenate([np.array([self.start, self.start, *row, self.end], np.int64) for row in rows])
        ends = np.cumsum(lengths + 2)
        keep = np.ones(len(flat) - 2, bool)
        for gap in ends[:-1]:
            keep[gap - 2 : gap] = False
        p = self.log_prob(flat[:-2][keep], flat[1:-1][keep], flat[2:][keep])
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        return (np.add.reduceat(p, starts) / lengths).tolist()


def _summed(keys: Ids, counts: Ids) -> tuple[Ids, Ids]:
    unique, first = np.unique(keys, return_index=True)
    return unique, np.add.reduceat(counts, first) if len(keys) else counts


def _looked_up(table: tuple[Ids, Ids], keys: Ids) -> NDArray[np.float32]:
    sorted_keys, counts = table
    if not len(sorted_keys):
        return np.zeros(keys.shape, np.float32)
    at = np.searchsorted(sorted_keys, keys).clip(max=len(sorted_keys) - 1)
    return np.where(sorted_keys[at] == keys, counts[at], 0).astype(np.float32)
