"""The first statement of a verdict: how far what the model writes is from what it was to write.

Everything is measured on texts written *under the user's plan*, beside what was asked for, or beside held-out text, and
each number stands beside the same number of other held-out text (A/A). A yardstick says what is worth nothing: text
drawn from a 5-gram chain of the training text or from its clauses shuffled; and, where something was asked for, the
nearest of eight training texts. Writing *fails* where it is surely beyond the yardstick and *warns* where it only
misses A/A, which for asked-for text is the text itself, of
which a twentieth may be lost. "Surely" is 3 standard errors with texts as units, more for few texts.

Shapes: B texts, L columns, Z latent (docs/notation.md).
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Status, plain, worst
from unmask.diagnosis.statistics import Mean, difference, mean_by_text, plain_mean
from unmask.diagnosis.subject import NotProvided
from unmask.metrics.bleu import bleu
from unmask.metrics.energy_distance import energy_distance
from unmask.metrics.exact_match import exact_match
from unmask.metrics.ngram_model import NgramModel
from unmask.metrics.rep_n import rep_n
from unmask.metrics.token_entropy import token_entropy
from unmask.metrics.word_recall import word_recall
from unmask.metrics.words import words

#: pairs of asked and written that are shown
SHOWN = 8
#: training texts from which the nearest is the yardstick for asked-for writing
NEAREST_OF = 8
#: what of the asked-for text may be lost without a warning
LOST = 0.05
#: order of the meaningless writer and of the judge that needs no network
ORDER = 5

Sequences = list[list[Hashable]]


@dataclass(frozen=True)
class Measure:
    """One number about what is written.

    Attributes:
        name: what is measured, with its unit.
        written: of the model's texts. data: the same number of held-out text; of what was asked, the reference's own.
        apart: the difference that is judged, or None where nothing is.
        yardstick: a number that is worth nothing, and what it is of; None where there is none.
        better: which way is better; ``near``: the data's number is.
        status: ``fail`` beyond the yardstick, ``warn`` beyond A/A, ``pass``, or ``not_run`` for a number without one.
        why: one sentence on the outcome.
    """

    name: str
    written: Mean
    data: Mean | None = None
    apart: Mean | None = None
    yardstick: Mean | None = None
    yardstick_of: str = ""
    better: Literal["higher", "lower", "near"] = "near"
    status: Status = "not_run"
    why: str = ""


@dataclass(frozen=True)
class Pair:
    """One text: what was asked (or a held-out text to compare with), and what was written."""

    asked: str
    written: str
    scores: dict[str, float]


@dataclass(frozen=True)
class Writing:
    """What the model writes, and how far off it is.

    Attributes:
        status: the worst of its measures.
        sentence: the statement.
        asked: True if each text had a reference that it was to be.
        texts: how many were written.
        plan: how, in words.
        pairs: some of them.
        measures: the numbers.
    """

    status: Status
    sentence: str
    asked: bool = False
    texts: int = 0
    plan: str = ""
    pairs: tuple[Pair, ...] = ()
    measures: tuple[Measure, ...] = ()

    def measure(self, name: str) -> Measure:
        """The measure of a name.

        Raises:
            KeyError: there is none.
        """
        for found in self.measures:
            if found.name == name:
                return found
        raise KeyError(name)

    def tree(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return plain(asdict(self))  # type: ignore[no-any-return]


def writing(context: CheckContext) -> Writing:
    """Write under the subject's plan and compare; ``not_run`` where the subject writes nothing or has no data."""
    missing = [m for m in ("data", "generate") if not context.subject.provides(m)]
    if missing:
        return Writing(
            "not_run", f"What it writes was not looked at: the subject does not provide {', '.join(missing)}."
        )
    try:
        texts = _Texts.of(context)
    except NotProvided as absent:
        return _unseen(str(absent))
    measures = [*texts.free_measures()]
    if texts.asked:
        measures = [*texts.asked_measures(), *measures]
    status = worst([m.status for m in measures])
    return Writing(
        status=status,
        sentence=_sentence(status, measures),
        asked=texts.asked,
        texts=len(texts.written),
        plan=context.subject.plan_words,
        pairs=texts.pairs(),
        measures=tuple(measures),
    )


def _unseen(what: str) -> Writing:
    return Writing("not_run", f"What it writes was not looked at: the subject does not provide {what}.")


def _sentence(status: Status, measures: Sequence[Measure]) -> str:
    if status == "fail":
        said = "; ".join(m.why for m in measures if m.status == "fail")
        return f"It writes badly: {said}."
    if status == "warn":
        said = "; ".join(m.why for m in measures if m.status == "warn")
        return f"What it writes can be told from held-out text: {said}."
    if status == "pass":
        return "What it writes cannot be told from held-out text by what was measured."
    return "Nothing about its writing could be judged."


@dataclass(frozen=True)
class _Texts:
    """What was written, what it is compared with, and the meaningless writers.

    Attributes:
        written, data, other: token sequences: the model's; the rows it wrote for; further held-out rows (A/A).
        train: training text (or further held-out text), half to judge by, half to write from.
        written_texts, data_texts: in words where there is a tokenizer, else ids.
        asked: whether each written text was to be its row.
    """

    context: CheckContext
    written: Sequences
    data: Sequences
    other: Sequences
    train: Sequences
    written_texts: list[str]
    data_texts: list[str]
    asked: bool

    @classmethod
    def of(cls, context: CheckContext) -> _Texts:
        s, out = context.subject, context.samples()
        n, start = len(context.prompts), first_column(context)
        further = s.data(2 * n).ids_BL[n:]
        if len(further) < 2:
            further = context.fit_ids[:n]
        written, data = context.sequences(out.ids_BL, start), context.sequences(context.prompts.ids_BL, start)
        asked = s.asks and start == 0
        own = context.prompts.texts if asked else None
        return cls(
            context,
            written,
            data,
            context.sequences(further, start),
            context.sequences(context.fit_ids, start),
            context.spelled(written),
            context.spelled(data) if own is None else list(own),
            asked,
        )

    # -- beside held-out text -----------------------------------------------------------------------------------------
    def free_measures(self) -> list[Measure]:
        found = [self._judged(), self._repeats(), self._entropy(), self._lengths()]
        return [m for m in (self._distance(), self._unknown_words()) if m is not None] + found

    def _both(self) -> tuple[Sequences, Sequences]:
        """What was written, and held-out text."""
        return self.written, [*self.data, *self.other]

    def _unknown_words(self) -> Measure | None:
        """Share of words that no training text has; None without a tokenizer."""
        if self.context.subject.tokenizer is None:
            return None
        known = {w for text in self.context.spelled(self.train) for w in words(text)}

        def share(texts: Sequence[str]) -> Mean:
            found = [(i, float(w not in known)) for i, text in enumerate(texts) for w in words(text)]
            return mean_by_text(torch.tensor([x for _, x in found]), torch.tensor([i for i, _ in found]))

        mine, data = share(self.written_texts), share([*self.data_texts, *self.context.spelled(self.other)])
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

    def _halves(self) -> tuple[Sequences, Sequences]:
        half = len(self.train) // 2
        return self.train[:half], self.train[half:]

    def _meaningless(self) -> dict[str, Sequences]:
        """Texts that mean nothing, as many as were written: a 5-gram chain's, and clauses shuffled between texts."""
        _, source = self._halves()
        longest = max((len(x) for x in self.data), default=1)
        chain = NgramModel(source, ORDER, self.context.subject.vocab_size)
        return {
            "a 5-gram chain of training text": chain.sample(len(self.written), longest, self.context.seed),
            "clauses of training texts shuffled": shuffled_pieces(source, len(self.written), self.context.seed),
        }

    def _judged(self) -> Measure:
        """Cross-entropy under a 5-gram model of one half of the training text; the chain is of the other half."""
        judge = NgramModel(self._halves()[0], ORDER, self.context.subject.vocab_size)

        def price(part: Sequences) -> Mean:
            nats = [judge.nats(x) for x in part]
            rows = torch.tensor([i for i, x in enumerate(nats) for _ in x])
            return mean_by_text(torch.tensor([v for x in nats for v in x], dtype=torch.float64), rows)

        mine, data = price(self.written), price([*self.data, *self.other])
        # where each text had a reference, text beside text: what the texts are about drops out
        gap = price_apart(judge, self.written, self.data) if self.asked else difference(mine, data)
        worthless = {name: price(part) for name, part in self._meaningless().items()}
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

    def _distance(self) -> Measure | None:
        """Energy distance between sentence vectors of what was written and of held-out text."""
        vectors = self._vectors([self.written_texts, self.context.spelled(self.data), self.context.spelled(self.other)])
        if vectors is None:
            return None
        mine, data, other = vectors
        far, same = _energy(mine, data), _energy(other, data)
        worthless = self._meaningless()
        spelled = self._vectors([self.context.spelled(part) for part in worthless.values()])
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

    def _vectors(self, parts: Sequence[list[str]]) -> list[np.ndarray[Any, Any]] | None:
        try:
            latents = [self.context.subject.encode(part)[1] for part in parts]
        except NotProvided:
            return None
        if any(z is None for z in latents):
            return None
        return [z.float().cpu().numpy() for z in latents if z is not None]

    def _repeats(self) -> Measure:
        """Share of neighbouring pairs that stood in the same text before."""
        mine, data = (_finite(rep_n(part, 2)) for part in self._both())
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

    def _entropy(self) -> Measure:
        mine, data = (plain_mean(torch.from_numpy(token_entropy(part))) for part in self._both())
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

    def _lengths(self) -> Measure:
        mine, data = (plain_mean(torch.tensor([float(len(x)) for x in part])) for part in self._both())
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

    # -- beside what was asked ----------------------------------------------------------------------------------------
    def asked_measures(self) -> list[Measure]:
        found = []
        nearest = self._nearest()
        vectors = self._vectors([self.written_texts])
        if vectors is not None and self.context.prompts.cond is not None:
            asked = self.context.prompts.cond.latent_BZ.float().cpu()
            mine = plain_mean(_cosine(torch.from_numpy(vectors[0]), asked))
            stick = None if nearest is None else plain_mean(nearest[1])
            found.append(self._against("cosine of the re-encoded text", mine, stick))
        recall = self._recall(self.written_texts)
        stick = None if nearest is None else self._recall(nearest[0])
        found.append(self._against("word recall", recall, stick, judged=vectors is None))
        exact = plain_mean(torch.from_numpy(exact_match(self.written_texts, self.data_texts)))
        found.append(Measure("exact match", exact, better="higher"))
        score = bleu(self.written_texts, self.data_texts).bleu
        found.append(Measure("BLEU", Mean(score, float("inf"), len(self.written_texts)), better="higher"))
        return found

    def _recall(self, texts: Sequence[str]) -> Mean:
        found_N, wanted_N = (torch.from_numpy(part) for part in word_recall(texts, self.data_texts))
        return plain_mean(found_N[wanted_N > 0] / wanted_N[wanted_N > 0])

    def _against(self, name: str, mine: Mean, stick: Mean | None, judged: bool = True) -> Measure:
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

    def _nearest(self) -> tuple[list[str], Tensor] | None:
        """For each row the nearest of eight training texts by the vectors, and its cosine; None without vectors."""
        s, cond = self.context.subject, self.context.prompts.cond
        if cond is None:
            return None
        try:
            train = s.data(NEAREST_OF * len(self.written), "train")
        except NotProvided:
            return None
        if train.cond is None or len(train) < NEAREST_OF:
            return None
        asked_BZ, known_NZ = cond.latent_BZ.float().cpu(), train.cond.latent_BZ.float().cpu()
        spelled = (
            list(train.texts) if train.texts is not None else self.context.spelled(self.context.sequences(train.ids_BL))
        )
        rng = random.Random(self.context.seed)
        texts, cosines = [], []
        for z in asked_BZ:
            drawn = rng.sample(range(len(spelled)), NEAREST_OF)
            cosine = _cosine(known_NZ[drawn], z.expand(NEAREST_OF, -1))
            best = int(cosine.argmax())
            texts.append(spelled[drawn[best]])
            cosines.append(float(cosine[best]))
        return texts, torch.tensor(cosines, dtype=torch.float64)

    def pairs(self) -> tuple[Pair, ...]:
        found = []
        recall_N, of_N = word_recall(self.written_texts, self.data_texts)
        for i in range(min(SHOWN, len(self.written_texts))):
            scores = {"word recall": float(recall_N[i] / max(of_N[i], 1))} if self.asked else {}
            found.append(Pair(self.data_texts[i], self.written_texts[i], scores))
        return tuple(found)


def above(mean: Mean) -> float:
    """The largest number that a mean is above beyond chance: 3 standard errors, more for few texts."""
    return mean.value - 0.75 * mean.room


def below(mean: Mean) -> float:
    """The smallest number that a mean is below beyond chance."""
    return mean.value + 0.75 * mean.room


_NEAREST = f"the nearest of {NEAREST_OF} training texts"


def first_column(context: CheckContext) -> int:
    """The first column that the sampler wrote: 0, or behind a prompt."""
    steps = context.samples().steps
    if context.subject.kind == "masked" or not steps:
        return 0
    drawn_L = torch.stack([s.drawn_BL.any(0) for s in steps]).any(0)
    return int(drawn_L.int().argmax())


def shuffled_pieces(sequences: Sequences, count: int, seed: int, length: int = 5) -> Sequences:
    """Texts stitched from runs of ``length`` items out of different texts: words and phrases right, meaning gone."""
    rng = random.Random(seed)
    usable = [x for x in sequences if x] or [[]]
    found: Sequences = []
    for _ in range(count):
        size = len(rng.choice(usable))
        text: list[Hashable] = []
        while len(text) < size:
            source = rng.choice(usable)
            first = rng.randrange(max(1, len(source) - length + 1))
            text += source[first : first + length]
        found.append(text[:size])
    return found


def price_apart(judge: NgramModel, one: Sequences, other: Sequences) -> Mean:
    """How much unlikelier each text of the first is than its partner, nats a token; text by text."""
    gaps = [float(np.mean(judge.nats(a)) - np.mean(judge.nats(b))) for a, b in zip(one, other, strict=True)]
    return plain_mean(torch.tensor(gaps, dtype=torch.float64))


def _energy(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> Mean:
    value, error = energy_distance(one, other)
    return Mean(value, error, len(one))


def _cosine(one_BZ: Tensor, other_BZ: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(one_BZ.double(), other_BZ.double(), dim=-1)


def _finite(rate_N: np.ndarray[Any, Any]) -> Mean:
    rate = torch.from_numpy(rate_N)
    kept = rate[torch.isfinite(rate)]
    return replace(plain_mean(kept), texts=len(kept)) if len(kept) else Mean(0.0, 0.0, len(rate))
