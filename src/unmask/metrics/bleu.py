"""Corpus BLEU through sacrebleu (arXiv 1804.08771), and BLEU-1 for outputs that have words but no order yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.core.errors import UsageError
from unmask.metrics.words import same_count


@dataclass(frozen=True)
class Bleu:
    """Both on the scale 0 to 100.

    Attributes:
        bleu: up to 4-grams.
        bleu_1: single words, with the same brevity penalty.
        brevity_penalty: in (0, 1], 1 when the output is at least as long as the reference.
        signature: sacrebleu's: what makes two numbers comparable.
    """

    bleu: float
    bleu_1: float
    brevity_penalty: float
    signature: str


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> Bleu:
    """Corpus BLEU, one reference a text, sacrebleu's default tokenizer (13a) and smoothing.

    Raises:
        UsageError: no text, or not as many hypotheses as references.
    """
    same_count(hypotheses, references)
    if not hypotheses:
        raise UsageError("BLEU needs at least one text")
    from sacrebleu.metrics.bleu import BLEU

    four, one = BLEU(), BLEU(max_ngram_order=1)
    score = four.corpus_score(list(hypotheses), [list(references)])
    return Bleu(
        bleu=score.score,
        bleu_1=one.corpus_score(list(hypotheses), [list(references)]).score,
        brevity_penalty=score.bp,
        signature=str(four.get_signature()),
    )


def sentence_bleu(hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
    """BLEU of each text with its reference, 0 to 100; of a text with fewer than four words, up to its own length.

    Raises:
        UsageError: not as many hypotheses as references.
    """
    same_count(hypotheses, references)
    from sacrebleu.metrics.bleu import BLEU

    score = BLEU(effective_order=True).sentence_score
    return [score(text, [reference]).score for text, reference in zip(hypotheses, references, strict=True)]
