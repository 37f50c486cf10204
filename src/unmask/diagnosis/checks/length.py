from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding, Plot
from unmask.metrics.length import LengthDistance, length_distance, length_histogram, text_lengths


@dataclass(frozen=True)
class Length(Check):
    """Do texts end where texts end?

    Lengths of the samples (up to the first EOS) against those of the same number of held-out texts. It fails if the
    two-sample Kolmogorov-Smirnov test leaves a chance below 1e-4 that they are alike *and* the mean length is off by
    more than a quarter, or a quarter more of the samples never end than of the data. A model that draws its length
    before the text is judged by the lengths that it draws. If training scores no EOS or no
    padding although the data has them, the finding says so.
    """

    title = "Are EOS and padding learned, and lengths right?"
    fault = "Texts do not end where texts end."
    needs = ("data", "generate")
    repair = "sampler.length"
    leads_to = ("safe_words", "frontier", "compounding")

    def run(self, context: CheckContext) -> Finding:
        s = context.subject
        data_BL, mine_BL = context.prompts.ids_BL, context.samples().ids_BL
        if not s.writes_padding:
            return self._drawn(context)
        if s.eos_id is None:
            return Finding("not_run", why="the subject has no end-of-text id")
        ends = (data_BL == s.eos_id).any(1).double().mean()
        if float(ends) < 0.1:
            return Finding("not_run", why="the texts of the data do not end on the canvas")
        wanted, found = (text_lengths(x, s.eos_id, s.pad_id).double().cpu() for x in (data_BL, mine_BL))
        distance = length_distance(found.numpy(), wanted.numpy())
        chance = _ks_chance(distance.ks, len(found), len(wanted))
        endless = 1 - float((mine_BL == s.eos_id).any(1).double().mean())
        endless_data = 1 - float(ends)
        off = abs(distance.mean / distance.data_mean - 1)
        wrong = chance < 1e-4 and (off > 0.25 or endless - endless_data > 0.25)
        near = chance < 1e-4
        unscored = self._unscored(context)
        status = "fail" if wrong else "warn" if near else "pass"
        why = "Texts end about where those of the data do."
        if status != "pass":
            why = "A text without its end runs on to the canvas' edge, and everything behind the end is noise."
            if unscored:
                why = f"Training never scores {' or '.join(unscored)}, so the model cannot know where a text ends."
        return Finding(
            status,  # type: ignore[arg-type]
            measured=f"mean length {distance.mean:.1f} tokens (data {distance.data_mean:.1f}); {endless:.0%} never end "
            f"(data {endless_data:.0%}); largest difference of the distributions {distance.ks:.2f}",
            threshold="a Kolmogorov-Smirnov chance above 1e-4, or a mean within a quarter",
            why=why,
            next_step="Score EOS and at least some padding (a small weight is enough), and give the encoder's "
            "tokenizer "
            "an EOS."
            if status != "pass"
            else "",
            numbers=_numbers(distance, chance)
            | {"never_end": endless, "never_end_data": endless_data, "never_scored": unscored},
            plot=_histograms(found, wanted, data_BL.shape[1], "tokens with EOS"),
            # what training never scores is no other fault's consequence
            own=bool(unscored) and wrong,
            fault=f"Training never scores {' or '.join(unscored)}, so texts do not end." if unscored and wrong else "",
            repair="training.targets" if unscored and wrong else "",
            share=max(off, endless - endless_data) if status != "pass" else 0.0,
        )

    def _drawn(self, context: CheckContext) -> Finding:
        """Of a model that draws how many tokens it writes: its numbers against those of the data."""
        data_BL, mine_BL = context.prompts.ids_BL, context.samples().ids_BL
        wanted, found = (context.exists(x).sum(1).double().cpu() for x in (data_BL, mine_BL))
        distance = length_distance(found.numpy(), wanted.numpy())
        chance = _ks_chance(distance.ks, len(found), len(wanted))
        off = abs(distance.mean / distance.data_mean - 1)
        status = "pass" if chance >= 1e-4 else "fail" if off > 0.25 else "warn"
        return Finding(
            status,  # type: ignore[arg-type]
            measured=f"mean length {distance.mean:.1f} tokens (data {distance.data_mean:.1f}); largest difference of "
            f"the distributions {distance.ks:.2f}",
            threshold="a Kolmogorov-Smirnov chance above 1e-4, or a mean within a quarter",
            why="Lengths are drawn as long as those of the data."
            if status == "pass"
            else "The lengths that are drawn are not those of the data, so texts are cut short or padded with words.",
            next_step="Compare p(n | z) with the data's lengths: train it on all rows, and draw at temperature 1."
            if status != "pass"
            else "",
            numbers=_numbers(distance, chance),
            plot=_histograms(found, wanted, max(data_BL.shape[1], mine_BL.shape[1]), "tokens"),
            share=off if status != "pass" else 0.0,
        )

    @staticmethod
    def _unscored(context: CheckContext) -> list[str]:
        """Special ids that the data holds and training never scores."""
        if not context.subject.provides("training_view"):
            return []
        ids_BL = context.batch.ids_BL
        views = [context.view(seed) for seed in range(context.budget.repeats)]
        asked: Tensor = torch.cat([ids_BL[v.scored_BL] for v in views])
        names = {"EOS": context.subject.eos_id, "padding": context.subject.pad_id}
        return [
            n for n, i in names.items() if i is not None and bool((ids_BL == i).any()) and not bool((asked == i).any())
        ]


def _numbers(distance: LengthDistance, chance: float) -> dict[str, Any]:
    return {
        "mean": distance.mean,
        "data_mean": distance.data_mean,
        "ks": distance.ks,
        "ks_chance": chance,
        "wasserstein_tokens": distance.wasserstein,
    }


def _histograms(found_B: Tensor, wanted_B: Tensor, top: int, unit: str) -> Plot:
    """Lengths of the samples and of the data, up to the longest."""
    series: dict[str, list[float | None]] = {
        name: [float(v) for v in length_histogram(lengths_B.numpy(), top)]
        for name, lengths_B in (("samples", found_B), ("data", wanted_B))
    }
    return Plot("lines", [float(i) for i in range(top + 1)], series, unit, "share of texts", ("data",))


def _ks_chance(ks: float, n: int, m: int) -> float:
    """Chance of a distance this large between samples of one distribution (Smirnov's asymptotic series)."""

    x = ks * math.sqrt(n * m / (n + m))
    if x < 0.2:
        return 1.0
    return min(1.0, max(0.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))))
