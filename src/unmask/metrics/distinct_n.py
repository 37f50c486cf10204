"""Distinct-n: the share of different n-grams among all n-grams of a sample (arXiv 1510.03055)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from unmask.metrics.words import ngrams


def distinct_n(sequences: Sequence[Sequence[Hashable]], n: int) -> float:
    """In (0, 1], pooled over the sample; NaN without an n-gram. It falls as a sample grows: compare equal sizes."""
    seen: set[tuple[Hashable, ...]] = set()
    total = 0
    for sequence in sequences:
        for gram in ngrams(sequence, n):
            seen.add(gram)
            total += 1
    return len(seen) / total if total else float("nan")
