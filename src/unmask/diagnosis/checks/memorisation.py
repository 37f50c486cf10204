from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.statistics import Mean, difference, mean_by_text
from unmask.diagnosis.subject import NotProvided
from unmask.metrics.words import ngrams


@dataclass(frozen=True)
class Memorisation(Check):
    """Does it recite its training text?

    The share of the samples' n-grams that stand in the training rows, against the share of held-out texts' n-grams that
    do: what the kind of text explains. It fails if the excess is surely (4 standard errors with texts as units, more
    for few) above a tenth, and warns if surely above zero and over a twentieth.
    """

    title = "Does it recite its training text?"
    fault = "It recites its training text."
    needs = ("data", "generate")
    repair = "training.data"
    leads_to = ("frontier",)

    #: tokens of an n-gram, and training rows looked through (no network call)
    n: int = 6
    rows: int = 20_000

    def run(self, lab: CheckContext) -> Finding:
        try:
            train_NL = lab.subject.data(self.rows, "train").ids_BL
        except NotProvided:
            raise NotProvided("data(n, 'train')") from None
        known = {gram for text in self._texts(lab, train_NL) for gram in ngrams(text, self.n)}
        mine, held = (self._share(lab, x, known) for x in (lab.samples().ids_BL, lab.prompts.ids_BL))
        if not mine.texts or not held.texts:
            return Finding("not_run", why=f"no text is {self.n} tokens long")
        gap = difference(mine, held)
        excess = gap.value
        status = "fail" if gap.surely_above > 0.1 else "warn" if gap.surely_above > 0 and excess > 0.05 else "pass"
        return Finding(
            status,  # type: ignore[arg-type]
            measured=f"{mine.value:.1%} of the {self.n}-grams written stand in {len(train_NL):,} training texts "
            f"(held-out texts: {held.value:.1%})",
            threshold="an excess surely below a tenth",
            why="What reads well may be a quotation, and scores on it say nothing about new text."
            if status != "pass"
            else "It repeats training text no more than new text of the kind does.",
            next_step="Remove duplicates, train less or on more; compare samples with their nearest training texts."
            if status != "pass"
            else "",
            numbers={"samples": mine.value, "held_out": held.value, "excess": excess, "n": self.n},
            share=excess if status != "pass" else 0.0,
        )

    @staticmethod
    def _texts(lab: CheckContext, ids_NL: Tensor) -> list[list[int]]:
        inside_NL = lab.in_text(ids_NL)
        return [row[:n] for row, n in zip(ids_NL.tolist(), inside_NL.sum(1).tolist(), strict=True)]

    def _share(self, lab: CheckContext, ids_NL: Tensor, known: set[tuple[object, ...]]) -> Mean:
        hits, rows = [], []
        for i, text in enumerate(self._texts(lab, ids_NL)):
            found = [gram in known for gram in ngrams(text, self.n)]
            hits += found
            rows += [i] * len(found)
        return mean_by_text(torch.tensor(hits, dtype=torch.float64), torch.tensor(rows))
