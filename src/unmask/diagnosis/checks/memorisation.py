from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.statistics import Mean, difference, mean_by_text
from unmask.metrics.words import ngrams


@dataclass(frozen=True)
class Memorisation(Check):
    """Does it recite its training text, and can that be told?

    The share of the samples' n-grams that stand in the training rows, against the share of held-out texts' n-grams that
    do: what the kind of text explains. It fails if the excess is surely (4 standard errors with texts as units, more
    for few) above a tenth, and warns if surely above zero and over a twentieth. Held-out text that has itself leaked
    into training would excuse any recital: where its n-grams stand in training surely a tenth more often than those of
    a training row stand in *other* training rows, that is said and fails, and the training rows' share is the yardstick
    instead.
    """

    title = "Does it recite its training text?"
    fault = "It recites its training text."
    needs = ("data", "generate")
    repair = "training.data"
    leads_to = ("frontier",)

    #: tokens of an n-gram
    n: int = 6

    def run(self, context: CheckContext) -> Finding:
        train = self._texts(context, context.train_ids)
        often = Counter(gram for text in train for gram in set(ngrams(text, self.n)))
        known = often.keys()
        mine, held = (
            self._share(self._texts(context, x), known) for x in (context.samples().ids_BL, context.prompts.ids_BL)
        )
        if not mine.texts or not held.texts:
            return Finding("not_run", why=f"no text is {self.n} tokens long")
        # of a training row: what stands in another one too
        kind = self._share(train[:: max(1, len(train) // 500)], {gram for gram, rows in often.items() if rows > 1})
        leak = difference(held, kind)
        leaked = leak.surely_above > 0.1
        gap = difference(mine, kind if leaked else held)
        excess = gap.value
        recites = gap.surely_above > 0.1
        status = "fail" if recites or leaked else "warn" if gap.surely_above > 0 and excess > 0.05 else "pass"
        fault = f"{held.value:.0%} of the {self.n}-grams of held-out text stand in training."
        return Finding(
            status,  # type: ignore[arg-type]
            fault=fault if leaked else "",
            measured=f"{mine.value:.1%} of the {self.n}-grams written stand in {len(train):,} training texts "
            f"(held-out texts: {held.value:.1%}, training rows in others: {kind.value:.1%})",
            threshold="an excess surely below a tenth",
            why="Held-out text has leaked into training, so that neither a score on it nor its likeness to what is "
            "written says anything."
            if leaked
            else "What reads well may be a quotation, and scores on it say nothing about new text."
            if status != "pass"
            else "It repeats training text no more than new text of the kind does.",
            next_step="Split by text before anything is cut into rows."
            if leaked
            else "Remove duplicates, train less or on more; compare samples with their nearest training texts."
            if status != "pass"
            else "",
            numbers={
                "samples": mine.value,
                "held_out": held.value,
                "training_in_others": kind.value,
                "excess": excess,
                "n": self.n,
                "training_rows": len(train),
            },
            share=max(excess, leak.value if leaked else 0.0) if status != "pass" else 0.0,
            own=leaked,
            repair="data.split" if leaked else "",
        )

    @staticmethod
    def _texts(context: CheckContext, ids_NL: Tensor) -> list[list[int]]:
        inside_NL = context.in_text(ids_NL)
        return [row[:n] for row, n in zip(ids_NL.tolist(), inside_NL.sum(1).tolist(), strict=True)]

    def _share(self, texts: Sequence[list[int]], known: Collection[tuple[object, ...]]) -> Mean:
        hits, rows = [], []
        for i, text in enumerate(texts):
            found = [gram in known for gram in ngrams(text, self.n)]
            hits += found
            rows += [i] * len(found)
        return mean_by_text(torch.tensor(hits, dtype=torch.float64), torch.tensor(rows))
