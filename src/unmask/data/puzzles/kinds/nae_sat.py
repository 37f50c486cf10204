"""L&O-NAE-SAT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from unmask.data.puzzles.latents import LatentsObservations, distinct_triples, triple_incidence


@dataclass(frozen=True)
class NaeSat(LatentsObservations):
    """Uniform bits, and for fixed triples of them whether they are *not all equal*.

    Attributes:
        n, p: number of latents and of observations (the paper: 25 and 275, 30 and 270, 40 and 260, 50 and 250,
            100 and 200).
        seed: draws the triples, which are all different.

    Raises:
        UsageError: there are not that many triples.
    """

    reference: ClassVar[str] = "arXiv 2502.06768"

    n: int = 12
    p: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        distinct_triples(self.n, self.p, self.seed)

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), cls(n=6, p=20), cls(n=25, p=275, seed=3)]

    @property
    def latents(self) -> int:
        return self.n

    @property
    def observations(self) -> int:
        return self.p

    @property
    def values(self) -> int:
        return 2

    @property
    def triples(self) -> Tensor:
        """[P, 3]: the latents of each observation."""
        return distinct_triples(self.n, self.p, self.seed)

    def observe(self, latent_BN: Tensor) -> Tensor:
        total_BP = latent_BN[:, self.triples.to(latent_BN.device)].sum(dim=2)
        return ((total_BP > 0) & (total_BP < 3)).long()

    def incidence(self) -> Tensor:
        return triple_incidence(self.triples, self.n)
