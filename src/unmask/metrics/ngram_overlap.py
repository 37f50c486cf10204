"""Memorisation: how much of what was generated stands in the training text, against new text of the same kind."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from unmask.metrics.words import ngrams


@dataclass(frozen=True)
class NgramOverlap:
    """Shares of n-grams that occur in the training text, counted as often as they are written.

    Attributes:
        n: length of the n-grams.
        generated: share of the generated n-grams; NaN without one.
        held_out: the same for text the model never saw: what the kind of text alone explains.
    """

    n: int
    generated: float
    held_out: float

    @property
    def novelty(self) -> float:
        """Share of generated n-grams that are *not* in the training text."""
        return 1 - self.generated

    @property
    def excess(self) -> float:
        """Overlap beyond that of held-out text: clearly positive means copying."""
        return self.generated - self.held_out


def ngram_overlap(
    generated: Sequence[Sequence[Hashable]],
    training: Iterable[Sequence[Hashable]],
    held_out: Sequence[Sequence[Hashable]],
    n: int = 4,
) -> NgramOverlap:
    """Compare samples with the training text.

    Args:
        generated, held_out: sequences of tokens or words.
        training: the same for training; read once, and only n-grams that are asked about are kept.
        n: length of the n-grams.
    """
    asked = {gram for side in (generated, held_out) for sequence in side for gram in ngrams(sequence, n)}
    known = {gram for sequence in training for gram in ngrams(sequence, n) if gram in asked}

    def share(sequences: Sequence[Sequence[Hashable]]) -> float:
        hits = [gram in known for sequence in sequences for gram in ngrams(sequence, n)]
        return sum(hits) / len(hits) if hits else float("nan")

    return NgramOverlap(n, share(generated), share(held_out))
