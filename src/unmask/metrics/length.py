"""Where texts end, and how far the lengths of two samples are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from unmask.core.errors import UsageError


def text_lengths(ids_NL: Tensor, eos_id: int | None, pad_id: int | None) -> Tensor:
    """Tokens of each text, the first EOS included, padding left out [N].

    A text without EOS ends before its padding; without either id it is the whole canvas.
    """
    length_N = torch.full((len(ids_NL),), ids_NL.shape[1], device=ids_NL.device)
    if pad_id is not None and pad_id != eos_id:
        length_N = (ids_NL != pad_id).sum(1)
    if eos_id is not None and ids_NL.shape[1]:
        is_eos_NL = ids_NL == eos_id
        length_N = torch.where(is_eos_NL.any(1), is_eos_NL.int().argmax(1) + 1, length_N)
    return length_N


def until_eos(ids_NL: Tensor, eos_id: int | None, pad_id: int | None) -> list[list[int]]:
    """Each text's ids up to its first EOS, EOS included."""
    lengths = text_lengths(ids_NL, eos_id, pad_id).tolist()
    return [row[:n] for row, n in zip(ids_NL.tolist(), lengths, strict=True)]


@dataclass(frozen=True)
class LengthDistance:
    """Generated lengths against those of the data.

    Attributes:
        mean, data_mean: mean lengths.
        ks: largest difference of the two cumulative distributions, in [0, 1].
        wasserstein: area between them: tokens a text must be lengthened or cut by on average, in the lengths' unit.
    """

    mean: float
    data_mean: float
    ks: float
    wasserstein: float


def length_distance(lengths_N: ArrayLike, data_lengths_M: ArrayLike) -> LengthDistance:
    """Kolmogorov-Smirnov and 1-Wasserstein distance between two samples of lengths.

    Raises:
        UsageError: an empty sample.
    """
    a, b = np.sort(np.asarray(lengths_N, dtype=np.float64)), np.sort(np.asarray(data_lengths_M, dtype=np.float64))
    if not len(a) or not len(b):
        raise UsageError(f"lengths of {len(a)} texts cannot be compared with those of {len(b)}")
    at = np.union1d(a, b)
    gap = np.abs(np.searchsorted(a, at, "right") / len(a) - np.searchsorted(b, at, "right") / len(b))
    return LengthDistance(
        mean=float(a.mean()),
        data_mean=float(b.mean()),
        ks=float(gap.max()),
        wasserstein=float((gap[:-1] * np.diff(at)).sum()),
    )


def length_histogram(lengths_N: ArrayLike, longest: int) -> NDArray[np.float64]:
    """Share of texts of each length 0..longest [longest + 1]; longer ones are counted with the last."""
    lengths = np.minimum(np.asarray(lengths_N, dtype=np.int64), longest)
    return np.bincount(lengths, minlength=longest + 1) / max(len(lengths), 1)
