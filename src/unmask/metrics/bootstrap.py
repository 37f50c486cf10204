"""Confidence intervals by resampling texts: of a ratio of sums, of a paired difference, of any statistic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.core.errors import UsageError

#: how many numbers of a resampling table are held at once
_CHUNK_NUMBERS = 2**22


@dataclass(frozen=True)
class Interval:
    """A value with a percentile bootstrap interval.

    Attributes:
        value: the statistic of the whole sample; NaN where there was nothing to measure.
        low, high: the interval; NaN with fewer than two texts, and where the value is no finite number.
        level: its coverage.
        texts: how many texts were resampled.
    """

    value: float
    low: float
    high: float
    level: float = 0.95
    texts: int = 0

    def map(self, increasing: Callable[[float], float]) -> Interval:
        """The interval of an increasing function of the value (a change of unit, an exponential)."""
        return Interval(increasing(self.value), increasing(self.low), increasing(self.high), self.level, self.texts)

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval is positive."""
        return self.low > 0

    def __str__(self) -> str:
        if np.isnan(self.low):
            return f"{self.value:.4g}"
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def ratio_interval(
    top_N: ArrayLike, bottom_N: ArrayLike | None = None, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval:
    """``sum(top) / sum(bottom)`` with texts as the unit of resampling (Efron & Tibshirani 1993, percentile method).

    Args:
        top_N: one number a text, e.g. its nats; ``top_a - top_b`` makes it a paired difference.
        bottom_N: one number a text, e.g. its tokens; ones (a plain mean) when None.
        level: coverage.
        resamples: bootstrap samples.
        seed: of the resampling; the same seed resamples the same texts, whatever is measured.

    Raises:
        UsageError: arrays of different lengths, ``level`` outside (0, 1), or no resample.
    """
    top = np.asarray(top_N, dtype=np.float64)
    bottom = np.ones_like(top) if bottom_N is None else np.asarray(bottom_N, dtype=np.float64)
    if top.shape != bottom.shape or top.ndim != 1:
        raise UsageError(f"a ratio needs one number a text above and below, got shapes {top.shape} and {bottom.shape}")
    _check(level, resamples)
    n, total = len(top), bottom.sum()
    if n == 0 or total == 0:
        return Interval(float("nan"), float("nan"), float("nan"), level, n)
    value = float(top.sum() / total)
    if n < 2 or not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"), level, n)
    rng = np.random.default_rng(seed)
    step, drawn = max(1, _CHUNK_NUMBERS // n), []
    for start in range(0, resamples, step):
        times_RN = rng.multinomial(n, np.full(n, 1 / n), size=min(step, resamples - start)).astype(np.float64)
        below_R = times_RN @ bottom
        # a resample may hold no text with a denominator (a rare bin): it says nothing
        drawn.append((times_RN @ top)[below_R != 0] / below_R[below_R != 0])
    return _percentiles(value, np.concatenate(drawn), level, n)


def statistic_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    texts: int,
    *,
    level: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> Interval:
    """The same for a statistic that is no ratio of sums.

    Args:
        statistic: takes row numbers [N] (with repeats) and gives the statistic of those rows.
        texts: N.
        level, resamples, seed: see :func:`ratio_interval`.
    """
    _check(level, resamples)
    if texts == 0:
        return Interval(float("nan"), float("nan"), float("nan"), level, 0)
    value = float(statistic(np.arange(texts)))
    if texts < 2:
        return Interval(value, float("nan"), float("nan"), level, texts)
    rng = np.random.default_rng(seed)
    drawn = np.array([statistic(rng.integers(0, texts, texts)) for _ in range(resamples)])
    return _percentiles(value, drawn, level, texts)


def _check(level: float, resamples: int) -> None:
    if not 0 < level < 1:
        raise UsageError(f"level={level} must lie in (0, 1), e.g. 0.95")
    if resamples < 1:
        raise UsageError(f"resamples={resamples} must be at least 1")


def _percentiles(value: float, drawn_R: NDArray[np.float64], level: float, texts: int) -> Interval:
    low, high = np.quantile(drawn_R, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level, texts)
