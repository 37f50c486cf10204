"""Perplexity from negative log likelihoods."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from unmask.metrics.bootstrap import Interval, ratio_interval


def exp(nats: float) -> float:
    """exp, infinite where a double cannot hold it (above 709 nats); NaN of NaN."""
    return math.inf if nats >= 709 else math.exp(nats)


def perplexity(nats_N: Sequence[ArrayLike], *, level: float = 0.95, seed: int = 0) -> Interval:
    """exp of the mean negative log likelihood over all *tokens* (not over texts), with an interval over texts.

    Args:
        nats_N: each text's tokens' negative log likelihoods in nats; a text may be empty.
        level: coverage of the interval.
        seed: of the resampling.
    """
    rows = [np.asarray(row, dtype=np.float64) for row in nats_N]
    mean = ratio_interval([row.sum() for row in rows], [row.size for row in rows], level=level, seed=seed)
    return mean.map(exp)
