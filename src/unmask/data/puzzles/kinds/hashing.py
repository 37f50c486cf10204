"""Latents seen through a hash-like function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from unmask.core.errors import UsageError
from unmask.data.puzzles.latents import LatentsObservations, distinct_triples, triple_incidence


@dataclass(frozen=True)
class Hashing(LatentsObservations):
    """Uniform values modulo m, and for fixed triples (a, b, c) the value ``a + b * c`` modulo m.

    Easy forwards, hard backwards: as long as a is hidden, an observation says nothing of b and c.

    Attributes:
        n, p: number of latents and of observations.
        modulus: m, from 2 on.
        seed: draws the triples, which are all different.

    Raises:
        UsageError: there are not that many triples, or the modulus is below 2.
    """

    reference: ClassVar[str] = "arXiv 2502.06768"

    n: int = 12
    p: int = 60
    modulus: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        distinct_triples(self.n, self.p, self.seed)
        if self.modulus < 2:
            raise UsageError(f"modulus={self.modulus} leaves nothing to guess: write 2 or more")

    @classmethod
    def examples(cls) -> list[Any]:
        return [cls(), cls(n=6, p=10, modulus=2)]

    @property
    def latents(self) -> int:
        return self.n

    @property
    def observations(self) -> int:
        return self.p

    @property
    def values(self) -> int:
        return self.modulus

    @property
    def triples(self) -> Tensor:
        """[P, 3]: the latents a, b, c of each observation."""
        return distinct_triples(self.n, self.p, self.seed)

    def observe(self, latent_BN: Tensor) -> Tensor:
        a, b, c = latent_BN[:, self.triples.to(latent_BN.device)].unbind(dim=2)
        return (a + b * c) % self.modulus

    def incidence(self) -> Tensor:
        return triple_incidence(self.triples, self.n)
