"""What was written under the user's plan, what it is compared with, and writers whose texts mean nothing."""

from __future__ import annotations

import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.subject import NotProvided
from unmask.diagnosis.validated_subject import SubjectFault
from unmask.metrics.ngram_model import NgramModel

#: order of the meaningless writer and of the judge that needs no network
ORDER = 5

Sequences = list[list[Hashable]]


@dataclass(frozen=True)
class WrittenTexts:
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
    def of(cls, context: CheckContext) -> WrittenTexts:
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

    def both(self) -> tuple[Sequences, Sequences]:
        """What was written, and held-out text."""
        return self.written, [*self.data, *self.other]

    def halves(self) -> tuple[Sequences, Sequences]:
        """Training text to judge by, and to write from."""
        half = len(self.train) // 2
        return self.train[:half], self.train[half:]

    def meaningless(self) -> dict[str, Sequences]:
        """Texts that mean nothing, as many as were written: a 5-gram chain's, and clauses shuffled between texts."""
        _, source = self.halves()
        longest = max((len(x) for x in self.data), default=1)
        chain = NgramModel(source, ORDER, self.context.subject.vocab_size)
        return {
            "a 5-gram chain of training text": chain.sample(len(self.written), longest, self.context.seed),
            "clauses of training texts shuffled": shuffled_pieces(source, len(self.written), self.context.seed),
        }

    def vectors(self, parts: Sequence[list[str]]) -> list[np.ndarray[Any, Any]] | None:
        """Sentence vectors of each list of texts; None where the subject has none."""
        try:
            latents = [self.context.subject.encode(part)[1] for part in parts]
        except (NotProvided, SubjectFault):
            # what is written need not be a text that the subject can read
            return None
        if any(z is None for z in latents):
            return None
        return [z.float().cpu().numpy() for z in latents if z is not None]


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
