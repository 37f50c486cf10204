"""Training texts that say what a held-out text says: found by the word n-grams that the two share.

Case and marks do not count. A text with fewer words than an n-gram is one n-gram by itself. Words and n-grams are
64-bit hashes, so a million texts take seconds; what two n-grams of one hash would do is to leave out one text too many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from unmask.data.sentences import words

#: words of an n-gram
N = 6
_BATCH = 50_000
_FACTOR = 0x9E3779B97F4A7C15
_PAD = 0x2545F4914F6CDD1D

Hashes = NDArray[np.uint64]


class Words(dict[str, int]):
    """The hash of every word that was asked for."""

    def __missing__(self, word: str) -> int:
        self[word] = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        return self[word]


class Wording:
    """The words of texts as hashes; equal words have equal ones, whatever their case.

    Args:
        texts: held in memory as one hash a word.
        known: shared among several of these, each word is hashed once.
    """

    def __init__(self, texts: Sequence[str], known: Words | None = None) -> None:
        known = Words() if known is None else known
        flat: list[int] = []
        ends = [0]
        for text in texts:
            flat += [known[word] for word in words(text)]
            ends.append(len(flat))
        self._words, self._ends = np.asarray(flat, np.uint64), np.asarray(ends, np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def whole(self) -> Hashes:
        """One hash a text, [N]: equal for texts of the same words in the same order; 0 for a text without words."""
        position = np.arange(len(self._words)) - np.repeat(self._ends[:-1], np.diff(self._ends))
        terms = self._words * _powers(int(position.max(initial=0)) + 1)[position]
        sums = np.concatenate(([np.uint64(0)], np.cumsum(terms, dtype=np.uint64)))
        return sums[self._ends[1:]] - sums[self._ends[:-1]]

    def ngrams(self, n: int = N) -> tuple[Hashes, NDArray[np.int64]]:
        """(hashes, [M]; the number of the text that each stands in, [M]), in the order of the texts.

        A text of fewer than ``n`` words has one, in which the missing words count as such; one without words none.
        """
        size = np.diff(self._ends)
        padded = np.where(size == 0, 0, np.maximum(size, n))
        starts = np.concatenate(([0], np.cumsum(padded)))
        owner = np.repeat(np.arange(len(self)), padded)
        within = np.arange(int(starts[-1])) - starts[owner]
        there = within < size[owner]
        flat = np.full(len(owner), _PAD, np.uint64)
        flat[there] = self._words
        first = np.flatnonzero(within <= padded[owner] - n)
        hashed = np.zeros(len(first), np.uint64)
        for i, power in enumerate(_powers(n)):
            hashed += flat[first + i] * power
        return hashed, owner[first]


class HeldOut:
    """An index of held-out texts by their n-grams.

    Args:
        texts: what is held out.
        n: words of an n-gram.
    """

    def __init__(self, texts: Sequence[str], n: int = N) -> None:
        self._n, self._known = n, Words()
        hashed, owner = Wording(texts, self._known).ngrams(n)
        order = np.argsort(hashed, kind="stable")
        self._hashes, first = np.unique(hashed[order], return_index=True)
        self._first = np.append(first, len(hashed))
        self._texts = owner[order]

    def overlap(self, texts: Sequence[str], floor: float = 0.0) -> NDArray[np.float64]:
        """The largest share of each text's n-grams that stands in one held-out text, [N].

        Args:
            texts: any number.
            floor: shares up to this one are given as 0, without counting text by text.
        """
        return np.concatenate([np.zeros(0), *(self._overlap(batch, floor) for batch in _batches(texts))])

    def _overlap(self, texts: Sequence[str], floor: float) -> NDArray[np.float64]:
        best = np.zeros(len(texts))
        hashed, owner = Wording(texts, self._known).ngrams(self._n)
        if not len(self._hashes) or not len(hashed):
            return best
        at = np.searchsorted(self._hashes, hashed).clip(max=len(self._hashes) - 1)
        hit = self._hashes[at] == hashed
        total = np.bincount(owner, minlength=len(texts))
        # in all held-out texts together: no more can be in one of them
        bound = np.bincount(owner[hit], minlength=len(texts)) / np.maximum(total, 1)
        hit &= bound[owner] > floor
        at, owner = at[hit], owner[hit]
        count = self._first[at + 1] - self._first[at]
        # each hit once for every held-out text that it stands in
        of = np.repeat(owner, count)
        inside = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
        pair = of * np.int64(2**32) + self._texts[np.repeat(self._first[at], count) + inside]
        pairs, times = np.unique(pair, return_counts=True)
        where = pairs >> 32
        np.maximum.at(best, where, np.minimum(times / total[where], 1.0))
        return best


def near_duplicates(texts: Sequence[str], held_out: Sequence[str], share: float, n: int = N) -> NDArray[np.bool_]:
    """Which texts have more than ``share`` of their word n-grams in one and the same held-out text, [N]."""
    return HeldOut(held_out, n).overlap(texts, share) > share


def same_words(texts: Sequence[str], others: Sequence[str]) -> NDArray[np.bool_]:
    """Which texts consist of the same words in the same order as one of the others, [N]."""
    known = Words()
    seen = [Wording(batch, known).whole() for batch in _batches(others)]
    mine = [Wording(batch, known).whole() for batch in _batches(texts)]
    return np.isin(np.concatenate([np.zeros(0, np.uint64), *mine]), np.concatenate([np.zeros(0, np.uint64), *seen]))


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), _BATCH):
        yield texts[start : start + _BATCH]


def _powers(count: int) -> Hashes:
    """The first powers of an odd factor, modulo 2**64."""
    found = np.full(count, _FACTOR, np.uint64)
    found[:1] = 1
    return np.cumprod(found, dtype=np.uint64)
