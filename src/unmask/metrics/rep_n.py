"""Rep-n: how much a text repeats itself (arXiv 2202.06417)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from unmask.metrics.words import ngrams


def rep_n(sequences: Sequence[Sequence[Hashable]], n: int) -> NDArray[np.float64]:
    """1 - different n-grams / n-grams, within each text [N]; NaN for a text shorter than n."""
    rates = []
    for sequence in sequences:
        grams = list(ngrams(sequence, n))
        rates.append(1 - len(set(grams)) / len(grams) if grams else float("nan"))
    return np.asarray(rates, dtype=np.float64)
