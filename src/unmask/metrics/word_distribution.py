"""How near the pooled words of a sample come to those of data: 1 minus the Jensen-Shannon divergence in bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from unmask.core.errors import UsageError
from unmask.metrics.words import word_tokens


def word_distribution_overlap(texts: Sequence[str], data: Sequence[str]) -> float:
    """1 for the same frequencies of words, 0 for no word in common (doi:10.1109/18.61115).

    Raises:
        UsageError: the data hold no word. A sample without words scores 0.
    """
    mine = Counter(w for text in texts for w in word_tokens(text))
    theirs = Counter(w for text in data for w in word_tokens(text))
    if not theirs:
        raise UsageError("the data to compare with hold no word")
    if not mine:
        return 0.0
    known = sorted({*mine, *theirs})
    p = np.array([mine[w] for w in known]) / mine.total()
    q = np.array([theirs[w] for w in known]) / theirs.total()
    middle = (p + q) / 2
    divergence = sum(float((d[d > 0] * np.log2(d[d > 0] / middle[d > 0])).sum()) / 2 for d in (p, q))
    return max(0.0, 1.0 - divergence)
