"""A hypothesis as its editors see it: every word at every place, ranked before anything is tried.

Shapes: n units of the hypothesis, W words of the lexicon, Z width of the vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from unmask.search.context import SearchContext
from unmask.search.hypothesis import Hypothesis, framed

#: what a word of several tokens is charged, since one mask stands for all of them; the least ln p that counts
_SEVERAL, _LEAST = 2.0, -14.0
#: (place, word) pairs whose trigrams are looked up
_LOOKED_UP = 1024


@dataclass(eq=False)
class Site:
    """What is known about the places of a hypothesis.

    Attributes:
        search: the search it belongs to.
        hypothesis: the text.
        replaced_nW, inserted_mW: ln p of each word in the place of unit n, and before unit m (m up to n), by the
            denoiser; None where no source asks it.
    """

    search: SearchContext
    hypothesis: Hypothesis
    replaced_nW: Tensor | None = None
    inserted_mW: Tensor | None = None

    @cached_property
    def ids(self) -> np.ndarray:
        return np.array(self.hypothesis.ids, np.int64)

    @cached_property
    def around(self) -> np.ndarray:
        """Ids with two starts and two ends about them."""
        trigram = self.search.lexicon.trigram
        return framed(self.hypothesis.ids, trigram.start, trigram.end)

    @cached_property
    def missing_W(self) -> Tensor:
        """How much more the target holds each word than the hypothesis does, log odds; its last entry is others'."""
        search, own_Z = self.search, self.hypothesis.vector_Z
        if own_Z is None or search.word_W is None:
            return torch.zeros(len(search.lexicon.words) + 1)
        found = search.word_W - search.lexicon.probe.logits(own_Z[None])[0]
        return torch.cat([found, torch.tensor([-1.0])])

    @cached_property
    def foreign_n(self) -> Tensor:
        """How much less the target holds each unit than the hypothesis does."""
        return -self.missing_W[torch.from_numpy(self.ids)]

    def gain(self, place: Tensor, word: Tensor | None, insert: bool = False) -> Tensor:
        """Cosine that a change should bring: word in for the unit at a place, before it, or nothing for it.

        Args:
            place: places [n, 1] or [N].
            word: words that broadcast with them; None to take the unit away.
        """
        search, own_Z = self.search, self.hypothesis.vector_Z
        if own_Z is None or search.z_Z is None:
            return torch.zeros(1)
        table, n = search.lexicon.probe.write_WZ, len(self.ids)
        to_z_W, square_W = search.added_W, search.square_W
        to_h_W = self._to_own_W
        if insert:
            # a mean over one more: (n h + w) / (n + 1) points where h + (w - h) / (n + 1) does
            scale, base = n + 1, float(own_Z @ search.z_Z)
            dz, dh = to_z_W[word] - base, to_h_W[word] - 1.0
            square = square_W[word] - 2 * to_h_W[word] + 1.0
        else:
            own = torch.from_numpy(self.ids)[place]
            base = float(own_Z @ search.z_Z)
            if word is None:
                scale = max(n - 1, 1)
                dz, dh = base - to_z_W[own], 1.0 - to_h_W[own]
                square = square_W[own] - 2 * to_h_W[own] + 1.0
            else:
                scale = n
                dz, dh = to_z_W[word] - to_z_W[own], to_h_W[word] - to_h_W[own]
                cross = (table[torch.from_numpy(self.ids)] @ table.T)[place, word]
                square = square_W[word] - 2 * cross + square_W[own]
        norm = (1 + 2 * dh / scale + square / scale**2).clamp(min=1e-6).sqrt()
        return (base + dz / scale) / norm - base

    @cached_property
    def _to_own_W(self) -> Tensor:
        assert self.hypothesis.vector_Z is not None
        return self.search.lexicon.probe.write_WZ @ self.hypothesis.vector_Z

    def order(self, place: np.ndarray, word: np.ndarray, insert: bool = False) -> np.ndarray:
        """Sum of ln p of the trigrams that a word makes in the place of a unit, or before it."""
        c, log_p = self.around, self.search.lexicon.trigram.log_prob
        a, b = c[place], c[place + 1]
        d = c[place + 2] if insert else c[place + 3]
        e = c[place + 3] if insert else c[np.minimum(place + 4, len(c) - 1)]
        end = self.search.lexicon.trigram.end
        # behind the end there is nothing to predict
        last = np.where(d == end, 0.0, log_p(word, d, e))
        return log_p(a, b, word) + log_p(b, word, d) + last

    @cached_property
    def order_n(self) -> np.ndarray:
        """:meth:`order` of the units that stand there."""
        return self.order(np.arange(len(self.ids)), self.ids)

    @cached_property
    def order_gap(self) -> np.ndarray:
        """Sum of ln p of the trigrams that an insertion before each place takes away."""
        c, log_p = self.around, self.search.lexicon.trigram.log_prob
        place = np.arange(len(self.ids) + 1)
        a, b, d, e = c[place], c[place + 1], c[place + 2], c[np.minimum(place + 3, len(c) - 1)]
        end = self.search.lexicon.trigram.end
        return log_p(a, b, d) + np.where(d == end, 0.0, log_p(b, d, e))

    def ranked(self, insert: bool, count: int = 256) -> list[tuple[float, int, int]]:
        """(rank, place, word) of the most promising words at all places, the best first."""
        weights, search = self.search.plan.weights, self.search
        words = len(search.lexicon.words)
        n = len(self.ids) + insert
        log_p = self.inserted_mW if insert else self.replaced_nW
        place, word = torch.arange(n)[:, None], torch.arange(words)[None]
        rank = (weights.missing * self.missing_W[:-1])[None].expand(n, -1)
        if search.word_W is not None:
            rank = rank + weights.word * search.word_W
        if log_p is not None:
            rank = rank + weights.denoiser * log_p
        if weights.gain and search.z_Z is not None:
            rank = rank + 100 * weights.gain * self.gain(place, word, insert)
        if not insert:
            rank = rank + weights.foreign * self.foreign_n[:, None]
            known = self.ids < words
            rank[torch.from_numpy(known), torch.from_numpy(self.ids[known])] = float("-inf")
        top, at = rank.flatten().topk(min(_LOOKED_UP, rank.numel()))
        where, what = (at // words).numpy(), (at % words).numpy()
        lost = self.order_gap if insert else self.order_n
        total = top.numpy() + weights.order * self.order(where, what, insert) - weights.order_lost * lost[where]
        best = np.argsort(-total, kind="stable")[:count]
        return [(float(total[i]), int(where[i]), int(what[i])) for i in best if np.isfinite(total[i])]

    def rank(self, place: np.ndarray, word: np.ndarray) -> np.ndarray:
        """Ranks of some replacements, a word in the place of a unit each, as :meth:`ranked` has them."""
        weights, search = self.search.plan.weights, self.search
        at, what = torch.from_numpy(place), torch.from_numpy(word)
        rank = weights.missing * self.missing_W[what] + weights.foreign * self.foreign_n[at]
        if search.word_W is not None:
            rank = rank + weights.word * search.word_W[what]
        if self.replaced_nW is not None:
            rank = rank + weights.denoiser * self.replaced_nW[at, what]
        if weights.gain and search.z_Z is not None:
            rank = rank + 100 * weights.gain * self.gain(at, what)
        order: np.ndarray = rank.numpy() + weights.order * self.order(place, word)
        return order - weights.order_lost * self.order_n[place]


def word_log_probs(log_p_nV: Tensor, first_W: Tensor, several_W: Tensor) -> Tensor:
    """ln p of words at places from that of tokens: of the first, less a charge where there are more."""
    return (log_p_nV[:, first_W] - _SEVERAL * several_W).clamp(min=_LEAST)
