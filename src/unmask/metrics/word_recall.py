"""Word recall: how much of the reference's bag of words the output has, order ignored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unmask.metrics.words import same_count, word_tokens


def word_recall(
    hypotheses: Sequence[str], references: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Words of the reference found (each as often as the output has it), and words of the reference: [N], [N]."""
    same_count(hypotheses, references)
    found, wanted = [], []
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        bag = Counter(word_tokens(reference))
        found.append((bag & Counter(word_tokens(hypothesis))).total())
        wanted.append(bag.total())
    return np.asarray(found, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
