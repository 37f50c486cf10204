"""Word F1: harmonic mean of word recall and precision over bags of words, so that more words do not help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unmask.metrics.words import same_count, word_tokens


def word_f1(hypotheses: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """F1 of each hypothesis [N], in [0, 1]; two texts without words agree."""
    same_count(hypotheses, references)
    scores = []
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        mine, theirs = Counter(word_tokens(hypothesis)), Counter(word_tokens(reference))
        total = mine.total() + theirs.total()
        scores.append(2 * (mine & theirs).total() / total if total else 1.0)
    return np.asarray(scores, dtype=np.float64)
