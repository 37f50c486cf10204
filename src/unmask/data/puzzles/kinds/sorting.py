"""Latents seen sorted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.data.puzzles.latents import LatentsObservations


@dataclass(frozen=True)
class Sorting(LatentsObservations):
    """Uniform values, and the same values in rising order: every observation depends on all latents.

    Attributes:
        n: number of latents, and of observations.
        top: values go from 0 to top - 1.

    Raises:
        UsageError: fewer than 2 latents or values.
    """

    reference: ClassVar[str] = "arXiv 2502.06768"

    n: int = 8
    top: int = 10

    def __post_init__(self) -> None:
        if self.n < 2 or self.top < 2:
            raise UsageError(f"n={self.n} latents with top={self.top} values cannot be sorted: write 2 or more of both")

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), cls(n=5, top=100)]

    @property
    def latents(self) -> int:
        return self.n

    @property
    def observations(self) -> int:
        return self.n

    @property
    def values(self) -> int:
        return self.top

    def observe(self, latent_BN: Tensor) -> Tensor:
        return latent_BN.sort(dim=1).values

    def incidence(self) -> Tensor:
        return torch.ones(self.n, self.n, dtype=torch.bool)
