"""What is wrong with written texts, a number a text, so that two ways to write can be compared text by text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.statistics import Mean, plain_mean
from unmask.diagnosis.written_texts import ORDER, first_column
from unmask.metrics.ngram_model import NgramModel
from unmask.metrics.rep_n import rep_n
from unmask.metrics.word_recall import word_recall


@dataclass(frozen=True)
class Symptom:
    """One thing that may be wrong with each text.

    Attributes:
        name: what is measured, with its unit.
        value_T: of each text; less is better.
        ideal: what held-out text has, or what was asked for would have.
    """

    name: str
    value_T: Tensor
    ideal: float

    @property
    def mean(self) -> Mean:
        return plain_mean(self.value_T)


def symptoms(context: CheckContext, ids_BL: Tensor) -> list[Symptom]:
    """Of texts written for the context's rows: words of the asked-for text that are missing (where some was asked
    for), repeated pairs, and nats a token under a 5-gram judge."""
    start = first_column(context)
    written = context.sequences(ids_BL, start)
    wanted = context.once("wanted", lambda: context.sequences(context.prompts.ids_BL, start))
    judge = context.once(
        "symptom judge",
        lambda: NgramModel(context.sequences(context.fit_ids, start), ORDER, context.subject.vocab_size),
    )
    found = [
        Symptom("repeated pairs of tokens", _repeats(written), float(_repeats(wanted).mean())),
        Symptom("judge: 5-grams, nats a token", _nats(judge, written), float(_nats(judge, wanted).mean())),
    ]
    if context.subject.asks and start == 0:
        texts = context.prompts.texts
        found_N, of_N = word_recall(context.spelled(written), context.spelled(wanted) if texts is None else list(texts))
        missing_T = 1 - torch.from_numpy(found_N / np.maximum(of_N, 1)).double()
        found.insert(0, Symptom("words asked for and not written", missing_T, 0.0))
    return found


def distance(context: CheckContext, ids_BL: Tensor) -> Tensor:
    """One number a text [T] to choose among plans by: missing words, or how far the judge is from its value on held-out
    text; and repetitions beyond held-out text's."""
    by_name = {s.name: s for s in symptoms(context, ids_BL)}
    repeats, judged = by_name["repeated pairs of tokens"], by_name["judge: 5-grams, nats a token"]
    more_T = (repeats.value_T - repeats.ideal).clamp(min=0)
    missing = by_name.get("words asked for and not written")
    return more_T + (missing.value_T if missing is not None else (judged.value_T - judged.ideal).abs())


def _repeats(sequences: Sequence[Sequence[Any]]) -> Tensor:
    return torch.from_numpy(np.nan_to_num(rep_n(sequences, 2))).double()


def _nats(judge: NgramModel, sequences: Sequence[Sequence[Any]]) -> Tensor:
    return torch.tensor([float(np.mean(judge.nats(x))) for x in sequences], dtype=torch.float64)
