"""MAUVE (arXiv 2102.01454) on features from any embedding, only where the sample is large enough to mean something."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

#: fewer texts a side than this are not scored: the paper uses 5,000 and the package asks for "a few thousand", because
#: the histogram behind the score (one bucket for ten texts) is all noise when it is short
MIN_TEXTS = 1000


@dataclass(frozen=True)
class Mauve:
    """A score, or why there is none.

    Attributes:
        value: in [0, 1], 1 where the two samples cannot be told apart; None where it was not measured.
        missing: the reason when ``value`` is None.
        texts: size of the smaller sample.
    """

    value: float | None
    missing: str | None
    texts: int


def mauve(
    features_ND: ArrayLike | None,
    data_features_MD: ArrayLike | None,
    *,
    min_texts: int = MIN_TEXTS,
    seed: int = 25,
) -> Mauve:
    """MAUVE between generated texts and data.

    Args:
        features_ND, data_features_MD: one vector a text, from the same encoder; None where there is no encoder or no
            data. Scores from different encoders are not comparable.
        min_texts: the smallest sample that is scored.
        seed: of the k-means inside.
    """
    if features_ND is None or data_features_MD is None:
        return Mauve(None, "not measured: it needs reference texts and an encoder", 0)
    ours, data = np.asarray(features_ND, dtype=np.float32), np.asarray(data_features_MD, dtype=np.float32)
    texts = min(len(ours), len(data))
    if texts < min_texts:
        return Mauve(None, f"not measured: {texts} texts are fewer than the {min_texts} it needs", texts)
    try:
        import mauve as package
    except ImportError:
        return Mauve(None, "not measured: mauve-text is not installed; pip install 'unmask[eval]'", texts)
    # the two samples are quantised together: equal sizes, or the larger one owns the clusters
    result = package.compute_mauve(p_features=data[:texts], q_features=ours[:texts], seed=seed, verbose=False)
    return Mauve(float(result.mauve), None, texts)
