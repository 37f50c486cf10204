"""Means with honest errors: tokens of one text are not independent, so texts are the unit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

#: standard errors beyond which a difference counts where the error is known: with two dozen checks, each asking a few
#: questions, a healthy subject then fails by chance in fewer than 1 of 100 diagnoses (normal tail at 4: 6e-5)
SURE = 4.0


@lru_cache(maxsize=256)
def sure(texts: int) -> float:
    """Standard errors beyond which a mean over this many texts counts: as rare by chance as :data:`SURE` is.

    An error that is itself estimated from n texts is too small now and then, so the tail is Student's with n - 1
    degrees of freedom: at 4 it would hold 8 % for 2 texts, 0.3 % for 8. Infinite with fewer than two.
    """
    if texts < 2:
        return math.inf
    from scipy.special import ndtr, stdtrit

    return -float(stdtrit(texts - 1, ndtr(-SURE)))


@dataclass(frozen=True)
class Mean:
    """A mean and its standard error.

    Attributes:
        value: the mean. error: its standard error (infinite with fewer than two texts). texts: how many.
    """

    value: float
    error: float
    texts: int

    @property
    def room(self) -> float:
        """How far off the true mean may be, either way: it is surely no further."""
        return sure(self.texts) * self.error if self.texts > 1 else math.inf

    @property
    def surely_above(self) -> float:
        """The largest number that the mean is surely above."""
        return self.value - self.room

    @property
    def surely_below(self) -> float:
        """The smallest number that the mean is surely below."""
        return self.value + self.room

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {2 * self.error:.3f}" if math.isfinite(self.error) else f"{self.value:.3f}"


def mean_by_text(value_N: Tensor, text_N: Tensor) -> Mean:
    """Mean over tokens with the error of a ratio of sums over texts (linearised; Cochran 1977, 6.4).

    Args:
        value_N: one number a token.
        text_N: which text each token belongs to.
    """
    if not len(value_N):
        return Mean(math.nan, math.inf, 0)
    present, slot_N = text_N.unique(return_inverse=True)
    texts = len(present)
    zeros = torch.zeros(texts, dtype=torch.float64)
    sum_T = zeros.index_add(0, slot_N, value_N.double())
    count_T = zeros.index_add(0, slot_N, torch.ones(len(value_N), dtype=torch.float64))
    mean = float(sum_T.sum() / count_T.sum())
    if texts < 2:
        return Mean(mean, math.inf, texts)
    spread = (sum_T - mean * count_T).square().sum() * texts / (texts - 1)
    return Mean(mean, float(spread.sqrt() / count_T.sum()), texts)


def plain_mean(value_N: Tensor) -> Mean:
    """Mean of independent numbers."""
    return mean_by_text(value_N, torch.arange(len(value_N)))


def difference(one: Mean, other: Mean) -> Mean:
    """The first minus the second, of texts that are not paired; as sure as the one of fewer texts."""
    return Mean(one.value - other.value, math.hypot(one.error, other.error), min(one.texts, other.texts))


def tolerance(dtype: torch.dtype) -> float:
    """Relative difference that rounding alone may make between two ways to compute the same thing: sqrt(epsilon).

    A sum of n products carries a relative error of order sqrt(n) epsilon to n epsilon; sqrt(epsilon) leaves room for
    n up to 1/sqrt(epsilon), which covers the widths and depths met here, and half of the digits must agree.
    """
    return math.sqrt(torch.finfo(dtype).eps) if dtype.is_floating_point else 0.0
