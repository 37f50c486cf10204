"""What counting words alone achieves: the yardsticks that a model must beat before it may be said to know anything.

Both are smoothed by interpolation with weights that the counts themselves give (Witten & Bell 1991), so that there is
nothing to tune: unigrams with the uniform distribution, bigrams with the unigrams.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.metrics.length import text_lengths


@dataclass(frozen=True)
class Baselines:
    """Counts of a sample of text.

    Attributes:
        unigram_V: log probabilities of ids, nats.
        pair_K, count_K: bigrams seen as ``left * V + right`` (sorted), and how often.
        left_V: how often each id stood on the left.
        kinds_V: how many different ids followed it.
        tokens: tokens counted.
    """

    unigram_V: Tensor
    pair_K: Tensor
    count_K: Tensor
    left_V: Tensor
    kinds_V: Tensor
    tokens: int

    @classmethod
    def fit(cls, ids_NL: Tensor, vocab_size: int, eos_id: int | None, pad_id: int | None) -> Baselines:
        """Count tokens (EOS in, PAD out) and neighbours."""
        V = vocab_size
        inside_NL = in_text(ids_NL, eos_id, pad_id)
        count_V = torch.bincount(ids_NL[inside_NL], minlength=V).double()
        tokens, kinds = int(count_V.sum()), int((count_V > 0).sum())
        unigram_V = ((count_V + kinds / V) / (tokens + kinds)).log()
        left_N, right_N = ids_NL[:, :-1][inside_NL[:, 1:]], ids_NL[:, 1:][inside_NL[:, 1:]]
        pair_K, count_K = (left_N * V + right_N).unique(return_counts=True)
        kinds_V = torch.bincount(pair_K // V, minlength=V).double()
        return cls(unigram_V, pair_K, count_K.double(), torch.bincount(left_N, minlength=V).double(), kinds_V, tokens)

    @property
    def entropy(self) -> float:
        """Entropy of the smoothed unigrams, nats."""
        return float(-(self.unigram_V.exp() * self.unigram_V).sum())

    def unigram_ce(self, target_N: Tensor) -> Tensor:
        """Nats a token without context."""
        return -self.unigram_V[target_N]

    def bigram_ce(self, left_N: Tensor, target_N: Tensor) -> Tensor:
        """Nats a token given its left neighbour; where that is hidden (-1), without context."""
        V = len(self.unigram_V)
        key_N = left_N.clamp(min=0) * V + target_N
        at_N = torch.searchsorted(self.pair_K, key_N).clamp(max=max(len(self.pair_K) - 1, 0))
        seen_N = torch.where(self.pair_K[at_N] == key_N, self.count_K[at_N], 0.0)
        kinds_N, total_N = self.kinds_V[left_N.clamp(min=0)], self.left_V[left_N.clamp(min=0)]
        p_N = (seen_N + kinds_N * self.unigram_V[target_N].exp()) / (total_N + kinds_N).clamp(min=1)
        known_N = (left_N >= 0) & (total_N > 0)
        return torch.where(known_N, -p_N.clamp(min=1e-300).log(), self.unigram_ce(target_N))


def in_text(ids_NL: Tensor, eos_id: int | None, pad_id: int | None) -> Tensor:
    """True at the tokens of each text, EOS included."""
    length_N = text_lengths(ids_NL, eos_id, pad_id)
    return torch.arange(ids_NL.shape[1], device=ids_NL.device) < length_N[:, None]
