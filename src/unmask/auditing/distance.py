"""How far texts lie from an exact law: log p of whole texts, and marginals of neighbouring pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from unmask.auditing.exact import ExactLaw, draw_ids
from unmask.auditing.price import Schedule

#: sets of exact draws that say what chance alone does
_DRAWS = 64
#: how far apart the two positions of a pair are
PAIRS = (1, 2)


@dataclass(frozen=True)
class Distance:
    """Texts against the law, in units that do not grow with their number, each with its standard error by chance.

    Attributes:
        texts: how many.
        log_p: their mean log p less the law's own mean (minus its entropy), nats a token: below 0 they are less likely
            than texts of the law, above 0 too likely (the most probable texts are no fair draw).
        log_p_error: standard deviation of that over exact draws of equal size.
        pairs: chi-squared divergence of the marginals of pairs of neighbours (one and two apart, pooled over
            positions) from the law's, less what exact draws of equal size show; 0 is none.
        pairs_error: standard deviation of that over exact draws.
    """

    texts: int
    log_p: float
    log_p_error: float
    pairs: float
    pairs_error: float

    @property
    def sigmas(self) -> float:
        """The larger of the two distances in standard deviations of exact draws; pairs count in one direction."""
        return max(abs(self.log_p) / self.log_p_error, self.pairs / self.pairs_error)


class Ruler:
    """Measures texts against a law; what chance does is drawn once.

    Args:
        law: the law.
        texts: how many texts are measured at a time.
        z_B: the vector of each text, where there are vectors.
        seed: of the exact draws.
    """

    def __init__(self, law: ExactLaw, texts: int, z_B: Tensor | None = None, seed: int = 1) -> None:
        self.law, self.texts, self.z_B, self.seed = law, texts, z_B, seed

    @cached_property
    def _expected(self) -> list[Tensor]:
        """Marginals of pairs, [V, V] each, pooled over positions, from very many exact draws."""
        rows = 400_000 // self.law.length
        z_B = None if self.z_B is None else self.z_B.repeat(-(-rows // self.texts))[:rows]
        return self._marginals(self.law.exact(rows, self.seed + 1_000_003, z_B))

    def _marginals(self, ids_BL: Tensor) -> list[Tensor]:
        vocab, found = self.law.vocab_size, []
        for apart in PAIRS:
            pair = ids_BL[:, :-apart] * vocab + ids_BL[:, apart:]
            count = torch.bincount(pair.flatten(), minlength=vocab * vocab).double()
            found.append((count / count.sum()).view(vocab, vocab))
        return found

    def _raw(self, ids_BL: Tensor) -> tuple[float, float]:
        log_p = float(self.law.log_prob(ids_BL.clamp(max=self.law.mask_id - 1), self.z_B).mean())
        divergence = 0.0
        for found, expected in zip(self._marginals(ids_BL), self._expected, strict=True):
            # half a draw in the rarest cells keeps a few strange pairs from being everything
            least = 0.5 / (self.texts * self.law.length)
            divergence += float(((found - expected) ** 2 / expected.clamp(min=least)).sum()) / len(PAIRS)
        return log_p / self.law.length, divergence

    @cached_property
    def _chance(self) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations of both figures over exact draws of equal size."""
        raw = np.array([self._raw(self.law.exact(self.texts, self.seed + i, self.z_B)) for i in range(_DRAWS)])
        return raw.mean(0), raw.std(0, ddof=1)

    def __call__(self, ids_BL: Tensor) -> Distance:
        """The distance of as many texts as the ruler is made for; a place that is still masked counts as it stands."""
        assert len(ids_BL) == self.texts
        mean, error = self._chance
        log_p, pairs = self._raw(ids_BL)
        return Distance(self.texts, log_p - mean[0], float(error[0]), pairs - mean[1], float(error[1]))


def write_fixed(law: ExactLaw, count: int, schedule: Callable[[int], Schedule] | Schedule, seed: int) -> Tensor:
    """Texts [count, L] written with the perfect denoiser under a schedule fixed beforehand, at temperature 1.

    Args:
        law: the denoiser. count: texts.
        schedule: the positions of each forward; or a function of the text's number, for schedules that are drawn.
        seed: of the values.
    """
    draw = torch.Generator().manual_seed(seed)
    ids_BL = torch.full((count, law.length), law.mask_id)
    each = [schedule(i) if callable(schedule) else schedule for i in range(count)]
    for step in range(max(len(one) for one in each)):
        at_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
        for row, one in enumerate(each):
            if step < len(one):
                at_BL[row, list(one[step])] = True
        ids_BL[at_BL] = draw_ids(law.log_marginals(ids_BL)[at_BL].exp(), draw)
    return ids_BL


def even_random(length: int, steps: int, seed: int) -> Callable[[int], Schedule]:
    """Schedules in random order with as even numbers of positions as there can be: one for each text."""

    def one(number: int) -> Schedule:
        order = np.random.default_rng([seed, number]).permutation(length)
        return tuple(tuple(int(i) for i in part) for part in np.array_split(order, min(steps, length)))

    return one
