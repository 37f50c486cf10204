"""What is written beside held-out text: each number beside the same of other held-out text, and a yardstick."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from unmask.diagnosis.measure import Measure, above, below
from unmask.diagnosis.statistics import Mean, difference, mean_by_text, plain_mean
from unmask.diagnosis.written_texts import ORDER, Sequences, WrittenTexts
from unmask.metrics.energy_distance import energy_distance
from unmask.metrics.ngram_model import NgramModel
from unmask.metrics.rep_n import rep_n
from unmask.metrics.token_entropy import token_entropy
from unmask.metrics.words import word_tokens


def beside_data(texts: WrittenTexts) -> list[Measure]:
    """Judge, repetitions, entropy and lengths; vectors and unknown words where the subject allows."""
    found = [_judged(texts), _repeats(texts), _entropy(texts), _lengths(texts)]
    return [m for m in (_distance(texts), _unknown_words(texts)) if m is not None] + found


def _unknown_words(texts: WrittenTexts) -> Measure | None:
    """Share of words that no training text has; None without a tokenizer."""
    if texts.context.subject.tokenizer is None:
        return None
    known = {w for text in texts.context.spelled(texts.train) for w in word_tokens(text)}

    def share(texts: Sequence[str]) -> Mean:
        found = [(i, float(w not in known)) for i, text in enumerate(texts) for w in word_tokens(text)]
        return mean_by_text(torch.tensor([x for _, x in found]), torch.tensor([i for i, _ in found]))

    mine, data = share(texts.written_texts), share([*texts.data_texts, *texts.context.spelled(texts.other)])
    if not mine.texts:
        return None
    double = Mean(2 * data.value, 2 * data.error, data.texts)
    gap, over = difference(mine, data), difference(mine, double)
    bad = above(over) > 0.02
    return Measure(
        "words that no training text has",
        mine,
        data,
        gap,
        double,
        "twice the data's",
        "lower",
        "fail" if bad else "warn" if above(gap) > 0.02 else "pass",
        f"{mine.value:.0%} of its words stand in no training text ({data.value:.0%} in held-out text)",
    )


def _judged(texts: WrittenTexts) -> Measure:
    """Cross-entropy under a 5-gram model of one half of the training text; the chain is of the other half."""
    judge = NgramModel(texts.halves()[0], ORDER, texts.context.subject.vocab_size)

    def price(part: Sequences) -> Mean:
        nats = [judge.nats(x) for x in part]
        rows = torch.tensor([i for i, x in enumerate(nats) for _ in x])
        return mean_by_text(torch.tensor([v for x in nats for v in x], dtype=torch.float64), rows)

    mine, data = price(texts.written), price([*texts.data, *texts.other])
    # where each text had a reference, text beside text: what the texts are about drops out
    gap = price_apart(judge, texts.written, texts.data) if texts.asked else difference(mine, data)
    worthless = {name: price(part) for name, part in texts.meaningless().items()}
    name, stick = min(worthless.items(), key=lambda pair: pair[1].value)
    bad = above(gap) > 0 and mine.value > stick.value
    return Measure(
        "judge: 5-grams, nats a token",
        mine,
        data,
        gap,
        stick,
        name,
        "lower",
        "fail" if bad else "warn" if above(gap) > 0.1 else "pass",
        f"a 5-gram judge finds it {gap.value:.2f} nats a token unlikelier than held-out text"
        + (f" and unlikelier than {name}" if bad else ""),
    )


def _distance(texts: WrittenTexts) -> Measure | None:
    """Energy distance between sentence vectors of what was written and of held-out text."""
    vectors = texts.vectors(
        [texts.written_texts, texts.context.spelled(texts.data), texts.context.spelled(texts.other)]
    )
    if vectors is None:
        return None
    mine, data, other = vectors
    far, same = _energy(mine, data), _energy(other, data)
    worthless = texts.meaningless()
    spelled = texts.vectors([texts.context.spelled(part) for part in worthless.values()])
    assert spelled is not None
    sticks = {name: _energy(z, data) for name, z in zip(worthless, spelled, strict=True)}
    name, stick = min(sticks.items(), key=lambda pair: pair[1].value)
    gap = difference(far, same)
    bad = above(gap) > 0 and far.value > stick.value
    return Measure(
        "energy distance of sentence vectors",
        far,
        same,
        gap,
        stick,
        name,
        "lower",
        "fail" if bad else "warn" if above(gap) > 0 else "pass",
        f"its texts lie {far.value:.3f} from held-out ones by their vectors (held-out texts {same.value:.3f})"
        + (f", further than {name}" if bad else ""),
    )


def _repeats(texts: WrittenTexts) -> Measure:
    """Share of neighbouring pairs that stood in the same text before."""
    mine, data = (_finite(rep_n(part, 2)) for part in texts.both())
    double = Mean(2 * data.value, 2 * data.error, data.texts)
    gap, over = difference(mine, data), difference(mine, double)
    bad = above(over) > 0.02
    return Measure(
        "repeated pairs of tokens",
        mine,
        data,
        gap,
        double,
        "twice the data's",
        "lower",
        "fail" if bad else "warn" if above(gap) > 0.02 else "pass",
        f"{mine.value:.0%} of its neighbouring pairs are repetitions ({data.value:.0%} in held-out text)",
    )


def _entropy(texts: WrittenTexts) -> Measure:
    mine, data = (plain_mean(torch.from_numpy(token_entropy(part))) for part in texts.both())
    gap = difference(mine, data)
    far = max(above(gap), -below(gap)) > 0.2
    return Measure(
        "entropy of a text's tokens, nats",
        mine,
        data,
        gap,
        status="warn" if far else "pass",
        why=f"a text has {mine.value:.2f} nats of entropy ({data.value:.2f} in held-out text)",
    )


def _lengths(texts: WrittenTexts) -> Measure:
    mine, data = (plain_mean(torch.tensor([float(len(x)) for x in part])) for part in texts.both())
    gap = difference(mine, data)
    far = max(above(gap), -below(gap)) > 0.1 * max(data.value, 1)
    return Measure(
        "length, tokens",
        mine,
        data,
        gap,
        status="warn" if far else "pass",
        why=f"a text has {mine.value:.1f} tokens ({data.value:.1f} in held-out text)",
    )


def price_apart(judge: NgramModel, one: Sequences, other: Sequences) -> Mean:
    """How much unlikelier each text of the first is than its partner, nats a token; text by text."""
    gaps = [float(np.mean(judge.nats(a)) - np.mean(judge.nats(b))) for a, b in zip(one, other, strict=True)]
    return plain_mean(torch.tensor(gaps, dtype=torch.float64))


def _energy(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> Mean:
    value, error = energy_distance(one, other)
    return Mean(value, error, len(one))


def _finite(rate_N: np.ndarray[Any, Any]) -> Mean:
    rate = torch.from_numpy(rate_N)
    kept = rate[torch.isfinite(rate)]
    return replace(plain_mean(kept), texts=len(kept)) if len(kept) else Mean(0.0, 0.0, len(rate))
