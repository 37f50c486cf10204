"""Sums and differences of means that were measured on the same texts, with honest errors.

A mean carries what each text pulls it by, so that in a difference of two means of the same texts what makes a text hard
drops out, and means of other texts add their own error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diagnosis.statistics import Mean


@dataclass(frozen=True)
class Estimate:
    """A mean, or a weighted sum of means.

    Attributes:
        value: the mean.
        pulls: name of a sample of texts -> how far each of its texts [T] moves the value (they add up to zero).
    """

    value: float
    pulls: Mapping[str, Tensor]

    @classmethod
    def ratio(cls, sample: str, sum_T: Tensor, count_T: Tensor) -> Estimate:
        """Sum over count, linearised (Cochran 1977, 6.4); NaN where nothing was counted.

        Args:
            sample: which texts; the same name and row number is the same text.
            sum_T, count_T: of each text.
        """
        total = float(count_T.sum())
        if not total:
            return cls(math.nan, {sample: torch.zeros(len(count_T), dtype=torch.float64)})
        value = float(sum_T.double().sum()) / total
        return cls(value, {sample: (sum_T.double() - value * count_T.double()) / total})

    @classmethod
    def of_tokens(cls, sample: str, value_N: Tensor, text_N: Tensor, texts: int) -> Estimate:
        """The mean over tokens; ``text_N`` says which of the ``texts`` each belongs to."""
        return cls.ratio(sample, by_text(value_N, text_N, texts), by_text(torch.ones(len(value_N)), text_N, texts))

    def __add__(self, other: Estimate) -> Estimate:
        return self._with(other, 1.0)

    def __sub__(self, other: Estimate) -> Estimate:
        return self._with(other, -1.0)

    def __mul__(self, factor: float) -> Estimate:
        return Estimate(self.value * factor, {name: pull_T * factor for name, pull_T in self.pulls.items()})

    def _with(self, other: Estimate, sign: float) -> Estimate:
        pulls = dict(self.pulls)
        for name, theirs_T in other.pulls.items():
            mine_T = pulls.get(name, theirs_T.new_zeros(0))
            size = max(len(mine_T), len(theirs_T))
            pulls[name] = _to(mine_T, size) + sign * _to(theirs_T, size)
        return Estimate(self.value + sign * other.value, pulls)

    @property
    def mean(self) -> Mean:
        """Value and standard error, as sure as the smallest of its samples."""
        variance, texts = 0.0, []
        for pull_T in self.pulls.values():
            n = len(pull_T)
            texts.append(n)
            variance += float(pull_T.square().sum()) * n / (n - 1) if n > 1 else math.inf
        return Mean(self.value, math.sqrt(variance), min(texts, default=0))


def by_text(value_N: Tensor, text_N: Tensor, texts: int) -> Tensor:
    """The sum over each text's tokens [T], fp64."""
    zeros_T = torch.zeros(texts, dtype=torch.float64)
    return zeros_T.index_add(0, text_N.cpu().long(), value_N.cpu().double())


def _to(pull_T: Tensor, size: int) -> Tensor:
    return torch.nn.functional.pad(pull_T, (0, size - len(pull_T)))
