"""What is written beside what was asked for, whose best is the text itself; the yardstick is a lookup in few texts."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from unmask.diagnosis.finding import Status
from unmask.diagnosis.measure import Measure, above, below
from unmask.diagnosis.statistics import Mean, difference, plain_mean
from unmask.diagnosis.subject import NotProvided
from unmask.diagnosis.written_texts import WrittenTexts
from unmask.metrics.bleu import bleu
from unmask.metrics.exact_match import exact_match
from unmask.metrics.word_recall import word_recall

#: training texts from which the nearest is the yardstick for asked-for writing
NEAREST_OF = 8
#: what of the asked-for text may be lost without a warning
LOST = 0.05
_NEAREST = f"the nearest of {NEAREST_OF} training texts"


def beside_asked(texts: WrittenTexts) -> list[Measure]:
    """Cosine of the vectors where there is an encoder, word recall, exact matches, BLEU."""
    found = []
    nearest = _nearest(texts)
    vectors = texts.vectors([texts.written_texts])
    if vectors is not None and texts.context.prompts.cond is not None:
        asked = texts.context.prompts.cond.latent_BZ.float().cpu()
        mine = plain_mean(_cosine(torch.from_numpy(vectors[0]), asked))
        stick = None if nearest is None else plain_mean(nearest[1])
        found.append(_against("cosine of the re-encoded text", mine, stick))
    recall = _recall(texts.written_texts, texts.data_texts)
    stick = None if nearest is None else _recall(nearest[0], texts.data_texts)
    found.append(_against("word recall", recall, stick, judged=vectors is None))
    exact = plain_mean(torch.from_numpy(exact_match(texts.written_texts, texts.data_texts)))
    found.append(Measure("exact match", exact, better="higher"))
    score = bleu(texts.written_texts, texts.data_texts).bleu
    found.append(Measure("BLEU", Mean(score, float("inf"), len(texts.written_texts)), better="higher"))
    return found


def _recall(written: Sequence[str], asked: Sequence[str]) -> Mean:
    found_N, wanted_N = (torch.from_numpy(part) for part in word_recall(written, asked))
    return plain_mean(found_N[wanted_N > 0] / wanted_N[wanted_N > 0])


def _against(name: str, mine: Mean, stick: Mean | None, judged: bool = True) -> Measure:
    """An asked-for measure, whose best is 1: beside the reference itself, and beside a lookup in few texts."""
    of = "" if stick is None else _NEAREST
    if not judged:
        return Measure(name, mine, yardstick=stick, yardstick_of=of, better="higher")
    words = f"{name} with what was asked is {mine.value:.2f}"
    gap = None if stick is None else difference(mine, stick)
    if stick is not None:
        words += f", that of {_NEAREST} {stick.value:.2f}"
    bad = gap is not None and above(gap) <= 0
    status: Status = "fail" if bad else "warn" if below(mine) < 1 - LOST else "pass"
    return Measure(name, mine, None, gap, stick, of, "higher", status, words)


def _nearest(texts: WrittenTexts) -> tuple[list[str], Tensor] | None:
    """For each row the nearest of eight training texts by the vectors, and its cosine; None without vectors."""
    s, cond = texts.context.subject, texts.context.prompts.cond
    if cond is None:
        return None
    try:
        train = s.data(NEAREST_OF * len(texts.written), "train")
    except NotProvided:
        return None
    if train.cond is None or len(train) < NEAREST_OF:
        return None
    asked_BZ, known_NZ = cond.latent_BZ.float().cpu(), train.cond.latent_BZ.float().cpu()
    spelled = (
        list(train.texts) if train.texts is not None else texts.context.spelled(texts.context.sequences(train.ids_BL))
    )
    rng = random.Random(texts.context.seed)
    found, cosines = [], []
    for z in asked_BZ:
        drawn = rng.sample(range(len(spelled)), NEAREST_OF)
        cosine = _cosine(known_NZ[drawn], z.expand(NEAREST_OF, -1))
        best = int(cosine.argmax())
        found.append(spelled[drawn[best]])
        cosines.append(float(cosine[best]))
    return found, torch.tensor(cosines, dtype=torch.float64)


def _cosine(one_BZ: Tensor, other_BZ: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(one_BZ.double(), other_BZ.double(), dim=-1)
