"""Exact match: the text is the reference, letter for letter, but for white space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unmask.metrics.words import same_count


def exact_match(hypotheses: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """1.0 where the two are equal once runs of white space are one space, else 0.0 [N]."""
    same_count(hypotheses, references)
    equal = [h.split() == r.split() for h, r in zip(hypotheses, references, strict=True)]
    return np.asarray(equal, dtype=np.float64)
