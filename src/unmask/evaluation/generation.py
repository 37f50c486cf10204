"""What a model writes: held-out texts through it, scored against their references and against the data."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unmask.core.errors import UsageError
from unmask.evaluation.judge import Judge, Quality, judge_texts
from unmask.metrics.bleu import Bleu, bleu
from unmask.metrics.bootstrap import Interval, ratio_interval
from unmask.metrics.exact_match import exact_match
from unmask.metrics.length import LengthDistance, length_distance
from unmask.metrics.mauve import MIN_TEXTS
from unmask.metrics.ngram_overlap import NgramOverlap, ngram_overlap
from unmask.metrics.token_accuracy import token_accuracy
from unmask.metrics.word_recall import word_recall
from unmask.metrics.words import word_tokens

Tokenize = Callable[[Sequence[str]], Sequence[Sequence[Hashable]]]


@dataclass(frozen=True)
class Match:
    """Outputs against their own references.

    Attributes:
        exact_match, token_accuracy, word_recall: shares in [0, 1].
        bleu: against the reference.
        copy_bleu: against the *input*, where that is another text: a paraphraser that copies scores high here.
        input_bleu: the reference against the input: how alike the two are to begin with.
    """

    exact_match: Interval
    token_accuracy: Interval
    word_recall: Interval
    bleu: Bleu
    copy_bleu: Bleu | None
    input_bleu: Bleu | None


@dataclass(frozen=True)
class GenerationScores:
    """Everything measured on what was written.

    Attributes:
        inputs: what each output was written from; None for free samples.
        outputs, references: texts; one reference an output when ``match`` is there, otherwise just data.
        match: against the references; None for free samples.
        quality, data_quality: GenPPL and its company for the outputs and, by the same measure, for the references.
        lengths_N, data_lengths_M: in tokens of ``tokenize`` (words without it), EOS included where it puts one.
        length: how far the two are apart.
        length_unit: "tokens" or "words".
        overlap: share of word 4-grams that stand in the training text; None without training text.
    """

    inputs: list[str] | None
    outputs: list[str]
    references: list[str]
    match: Match | None
    quality: Quality
    data_quality: Quality
    lengths_N: NDArray[np.int64]
    data_lengths_M: NDArray[np.int64]
    length: LengthDistance
    length_unit: str
    overlap: NgramOverlap | None


def reconstructed(
    sample_fn: Callable[[list[str]], Sequence[str]],
    inputs: Sequence[str],
    *,
    batch_size: int = 64,
    on_batch: Callable[[int], None] | None = None,
) -> list[str]:
    """Put texts through a model, a batch at a time.

    Args:
        sample_fn: texts -> as many texts (encode, sample, decode).
        inputs: what to write from.
        batch_size: texts a call.
        on_batch: called with the number of texts done after each batch.

    Raises:
        UsageError: ``sample_fn`` gave back another number of texts.
    """
    outputs: list[str] = []
    for start in range(0, len(inputs), batch_size):
        part = list(inputs[start : start + batch_size])
        written = list(sample_fn(part))
        if len(written) != len(part):
            raise UsageError(f"sample_fn gave back {len(written)} texts for {len(part)}: it must write one for each")
        outputs += written
        if on_batch is not None:
            on_batch(len(outputs))
    return outputs


def score_generation(
    outputs: Sequence[str],
    references: Sequence[str],
    *,
    inputs: Sequence[str] | None = None,
    paired: bool = True,
    tokenize: Tokenize | None = None,
    judge: Judge | None = None,
    embed: Callable[[Sequence[str]], ArrayLike] | None = None,
    training_texts: Iterable[str] | None = None,
    data_quality: Quality | None = None,
    bos: bool = False,
    mauve_min_texts: int = MIN_TEXTS,
    seed: int = 0,
    share: bool = False,
) -> GenerationScores:
    """Score what was written.

    Args:
        outputs: generated texts.
        references: the text each should be (``paired``), or simply held-out data.
        inputs: what each was written from; the references themselves in reconstruction.
        paired: False for free samples: nothing is compared one to one.
        tokenize: texts -> token sequences cut after EOS, for accuracy and lengths; words when None.
        judge, embed, bos, mauve_min_texts: see :func:`unmask.evaluation.judge.judge_texts`.
        training_texts: read once, for the share of 4-grams that stand in them.
        data_quality: of these references under this judge, where it was measured before (a sweep over samplers).
        seed: of the intervals.
        share: each process of a launch judges its part of the texts; all must call.

    Raises:
        UsageError: no output, or outputs, inputs and references that do not pair up.
    """
    outputs, references = list(outputs), list(references)
    if not outputs or not references:
        raise UsageError(f"{len(outputs)} outputs cannot be scored against {len(references)} texts: give at least one")
    if inputs is not None and len(inputs) != len(outputs):
        raise UsageError(f"{len(outputs)} outputs do not pair up with {len(inputs)} inputs")
    split: Tokenize = tokenize if tokenize is not None else lambda texts: [word_tokens(text) for text in texts]
    tokens, data_tokens = split(outputs), split(references)
    lengths = np.array([len(row) for row in tokens], dtype=np.int64)
    data_lengths = np.array([len(row) for row in data_tokens], dtype=np.int64)
    match = None
    if paired:
        other = None if inputs is None or list(inputs) == references else list(inputs)
        match = Match(
            exact_match=ratio_interval(exact_match(outputs, references), seed=seed),
            token_accuracy=ratio_interval(*token_accuracy(tokens, data_tokens), seed=seed),
            word_recall=ratio_interval(*word_recall(outputs, references), seed=seed),
            bleu=bleu(outputs, references),
            copy_bleu=None if other is None else bleu(outputs, other),
            input_bleu=None if other is None else bleu(references, other),
        )
    overlap = None
    if training_texts is not None:
        overlap = ngram_overlap(
            [word_tokens(t) for t in outputs],
            (word_tokens(t) for t in training_texts),
            [word_tokens(t) for t in references],
        )
    return GenerationScores(
        inputs=None if inputs is None else list(inputs),
        outputs=outputs,
        references=references,
        match=match,
        quality=judge_texts(
            outputs,
            judge,
            data_texts=references,
            embed=embed,
            bos=bos,
            mauve_min_texts=mauve_min_texts,
            seed=seed,
            share=share,
        ),
        data_quality=data_quality or judge_texts(references, judge, bos=bos, seed=seed, share=share),
        lengths_N=lengths,
        data_lengths_M=data_lengths,
        length=length_distance(lengths, data_lengths),
        length_unit="words" if tokenize is None else "tokens",
        overlap=overlap,
    )
