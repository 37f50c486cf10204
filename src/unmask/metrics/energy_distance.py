"""How far apart two samples of vectors are: the energy distance (Szekely & Rizzo 2013), with a jackknife error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def energy_distance(one_NZ: ArrayLike, other_MZ: ArrayLike) -> tuple[float, float]:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| and its standard error from leaving out one row of the first sample.

    0 in expectation for samples of one distribution (the unbiased form, so that it may be below), larger the further
    apart they are, in the vectors' unit. NaN for fewer than three rows.
    """
    x, y = np.asarray(one_NZ, np.float64), np.asarray(other_MZ, np.float64)
    n, m = len(x), len(y)
    if n < 3 or m < 3:
        return float("nan"), float("nan")
    cross = _distances(x, y)
    within, others = _distances(x, x), _distances(y, y)
    yy = others.sum() / (m * (m - 1))
    sum_cross, sum_within = cross.sum(), within.sum()
    whole = 2 * sum_cross / (n * m) - sum_within / (n * (n - 1)) - yy
    # leave out row i of the first sample
    left_cross = sum_cross - cross.sum(1)
    left_within = sum_within - 2 * within.sum(1)
    left = 2 * left_cross / ((n - 1) * m) - left_within / ((n - 1) * (n - 2)) - yy
    error = np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())
    return float(whole), float(error)


def _distances(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    square = (one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T
    return np.sqrt(np.clip(square, 0, None))  # type: ignore[no-any-return]
