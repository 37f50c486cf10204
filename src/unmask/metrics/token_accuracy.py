"""Token accuracy: the right token at the right place, with too short and too long both counted as wrong."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from unmask.metrics.words import same_count


def token_accuracy(
    hypotheses: Sequence[Sequence[Hashable]], references: Sequence[Sequence[Hashable]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matches by position, and positions, a text: accuracy is the sum of the first over the sum of the second.

    The positions of a text are those of the *longer* of the two, so an output that runs on past the reference pays for
    it. Hand in sequences cut after EOS, EOS included (:func:`unmask.metrics.length.until_eos`): then ending at the
    right place is one of the tokens to get right.
    """
    same_count(hypotheses, references)
    pairs = list(zip(hypotheses, references, strict=True))
    hits = [sum(a == b for a, b in zip(h, r, strict=False)) for h, r in pairs]
    places = [max(len(h), len(r)) for h, r in pairs]
    return np.asarray(hits, dtype=np.float64), np.asarray(places, dtype=np.float64)
