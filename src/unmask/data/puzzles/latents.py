"""Latents and observations: hidden values drawn uniformly, and functions of them that can be seen (arXiv
2502.06768).

A canvas is the N latents, then the P observations. Some masked questions about it are easy (an observation whose
latents are seen), others are hard problems (the latents from the observations), and an order of unmasking decides
which are asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.random import generator
from unmask.data.puzzles import relations
from unmask.data.puzzles.puzzle import Puzzle, PuzzleBatch


@dataclass(frozen=True)
class LatentsObservations(Puzzle):
    """Base of puzzles in which observations are fixed functions of uniform latents; value v is token v + 1.

    A subclass sets its ranges and writes :meth:`observe` and :meth:`incidence`.
    """

    one_answer: ClassVar[bool] = False
    relation_names: ClassVar[tuple[str, ...]] = relations.INCIDENCE

    @property
    def latents(self) -> int:
        """N."""
        raise NotImplementedError

    @property
    def observations(self) -> int:
        """P."""
        raise NotImplementedError

    @property
    def values(self) -> int:
        """Number of values of a latent and of an observation."""
        raise NotImplementedError

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Latents [n, N] (int64)."""
        return torch.randint(self.values, (n, self.latents), generator=generator)

    def observe(self, latent_BN: Tensor) -> Tensor:
        """Observations [B, P] of latents [B, N]."""
        raise NotImplementedError

    def incidence(self) -> Tensor:
        """[P, N]: True where an observation depends on a latent."""
        raise NotImplementedError

    @property
    def length(self) -> int:
        return self.latents + self.observations

    @property
    def vocab_size(self) -> int:
        return self.values + 1

    def canvas(self, latent_BN: Tensor) -> Tensor:
        """Tokens [B, L] of latents and what is observed of them."""
        return torch.cat([latent_BN, self.observe(latent_BN)], dim=1) + 1

    def sample(self, n: int, rng: np.random.Generator) -> PuzzleBatch:
        """``n`` canvases with the observations given and the latents to be found (they need not be unique)."""
        seed = torch.Generator().manual_seed(int(rng.integers(2**63)))
        answer_BL = self.canvas(self.draw(n, seed))
        given_BL = (torch.arange(self.length) >= self.latents).expand(n, -1)
        return PuzzleBatch(answer_BL, given_BL.clone())

    def consistent(self, x_BL: Tensor) -> Tensor:
        """[B, P]: True where an observation is what its latents make it; False where either is still hidden."""
        latent_BN, seen_BP = x_BL[:, : self.latents], x_BL[:, self.latents :]
        known_BN = (latent_BN >= 1) & (latent_BN <= self.values)
        equal_BP = self.observe(torch.where(known_BN, latent_BN - 1, 0)) + 1 == seen_BP
        unknown_BP = (~known_BN).float() @ self.incidence().to(x_BL.device).T.float() > 0
        return equal_BP & ~unknown_BP

    def obeys(self, x_BL: Tensor) -> Tensor:
        known_B = ((x_BL >= 1) & (x_BL <= self.values)).all(dim=1)
        return known_B & self.consistent(x_BL).all(dim=1)

    def relations(self, x_BL: Tensor) -> Tensor:
        return relations.incidence_relations(self.incidence()).to(x_BL.device)

    def read(self, text: str) -> PuzzleBatch:
        """A canvas written as numbers from 0, parted by spaces, with ``.`` where hidden.

        Hidden answers stay unknown (0): several may be right.


        Raises:
            UsageError: a wrong number of values, one out of range, or an observation that its given latents deny.
        """
        words = text.split() if len(text.split()) > 1 else list(text.strip())
        if len(words) != self.length:
            raise UsageError(
                f"this puzzle has {self.latents} latents and {self.observations} observations, "
                f"so {self.length} values, not {len(words)}"
            )
        for place, word in enumerate(words):
            if word != "." and not (word.isdecimal() and int(word) < self.values):
                raise UsageError(
                    f"value {place + 1} is {word!r}: write 0 to {self.values - 1}, or . where it is hidden"
                )
        x_BL = torch.tensor([[0 if word == "." else int(word) + 1 for word in words]])
        given_BL = x_BL > 0
        known_BP = ~((~given_BL[:, : self.latents]).float() @ self.incidence().T.float() > 0)
        wrong_BP = known_BP & given_BL[:, self.latents :] & ~self.consistent(x_BL)
        if wrong_BP.any():
            place = int(wrong_BP[0].nonzero()[0])
            want = int(self.observe((x_BL[:, : self.latents] - 1).clamp(min=0))[0, place])
            said = int(x_BL[0, self.latents + place]) - 1
            raise UsageError(f"observation {place + 1} is {said}, but its latents, all given, make it {want}")
        return PuzzleBatch(x_BL, given_BL)

    def show(self, x_L: Tensor) -> str:
        words = ["." if token == 0 else str(token - 1) for token in x_L.tolist()]
        gap = "" if self.values <= 10 else " "
        return f"latents       {gap.join(words[: self.latents])}\nobservations  {gap.join(words[self.latents :])}"


@lru_cache(maxsize=32)
def distinct_triples(latents: int, triples: int, seed: int) -> Tensor:
    """[P, 3]: different sets of three different latents, drawn uniformly.

    Raises:
        UsageError: fewer than 3 latents, or more triples than there are.
    """
    most = latents * (latents - 1) * (latents - 2) // 6
    if not (latents >= 3 and 1 <= triples <= most):
        raise UsageError(f"{latents} latents have {max(most, 0)} triples, so there cannot be {triples} different ones")
    every = torch.combinations(torch.arange(latents), 3)
    return every[torch.randperm(most, generator=generator(seed, latents, triples))[:triples]]


def triple_incidence(triples_P3: Tensor, latents: int) -> Tensor:
    """[P, N]: True where a triple holds a latent."""
    out = torch.zeros(len(triples_P3), latents, dtype=torch.bool)
    return out.scatter_(1, triples_P3, True)
