"""Unigram entropy in nats: of each text, as the papers that report GenPPL do, and of the sample as one pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def _entropy(counts: Iterable[int]) -> float:
    share = np.asarray(list(counts), dtype=np.float64)
    if not len(share):
        return float("nan")
    share /= share.sum()
    # abs: a single outcome gives -0.0
    return abs(float(-(share * np.log(share)).sum()))


def token_entropy(sequences: Sequence[Sequence[Hashable]]) -> NDArray[np.float64]:
    """Entropy of each text's own token frequencies, nats [N]; NaN for an empty text. At most log(length), so texts of
    different lengths are not comparable (arXiv 2409.02908)."""
    return np.asarray([_entropy(Counter(s).values()) for s in sequences], dtype=np.float64)


def pooled_entropy(sequences: Sequence[Sequence[Hashable]]) -> float:
    """Entropy of the token frequencies of all texts together, nats: low when a model keeps to a few safe words."""
    return _entropy(Counter(token for s in sequences for token in s).values())
