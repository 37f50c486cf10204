from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding, Plot
from unmask.diagnosis.statistics import Mean, mean_by_text


@dataclass(frozen=True)
class LossByRatio(Check):
    """Does the model know anything when everything is hidden, or only how to fill gaps?

    Loss and accuracy at fixed shares of hidden positions, with r = 1 (nothing visible: where writing starts) by itself,
    beside what counting words achieves on the same tokens: unigrams, and bigrams where the left neighbour is visible.
    The counts come from texts that are not scored. A model that is *surely* (4 standard errors, more for few texts, of
    the paired difference, texts as units) worse than unigrams at any ratio has not learned that state. A law of
    training that never hides more than nine tenths fails too: a law that reaches r = 1 evenly leaves the last tenth
    empty in N rows with probability 0.9^N, below 1e-8 here. A model that is surely worse than bigrams when 3 of 10
    tokens are hidden has no cloze skill to speak of, and is warned about.
    """

    title = "Good at filling gaps, but blind when everything is hidden?"
    fault = "The model fills gaps but is blind when everything is hidden."
    reference = "arXiv 2406.07524"
    kinds = ("masked",)
    apart = "a causal model sees all that stands before a token and nothing behind it, at no other ratio"
    repair = "training.ratios"
    leads_to = ("latent_use", "compounding", "safe_words", "guidance", "length", "frontier", "factorisation")

    def run(self, context: CheckContext) -> Finding:
        counts = context.counts
        rows = {ratio: self._at(context, ratio) for ratio in context.budget.ratios}
        at_one = rows[1.0]
        # surely worse than counting words, anywhere
        blind = {r: row["over_unigram"] for r, row in rows.items() if row["over_unigram"].surely_above > 0}
        low = max(ratio for ratio in rows if ratio <= 0.3)
        cloze = rows[low]
        no_cloze = cloze["over_bigram"].surely_above > 0
        shown = self._highest_trained(context)
        unseen = shown is not None and shown < 0.9
        status = "fail" if blind or unseen else "warn" if no_cloze else "pass"
        cloze_skill = -cloze["over_unigram"].value
        writing = -at_one["over_unigram"].value
        measured = ("" if shown is None else f"training hides up to {shown:.0%}; ") + (
            f"r = 1: {at_one['ce'].value:.2f} nats a token, unigrams {at_one['unigram'].value:.2f} "
            f"(writing skill {writing:+.2f}); r = {low:g}: {cloze['ce'].value:.2f} nats "
            f"(cloze skill {cloze_skill:+.2f})"
        )
        if blind:
            worst = max(blind, key=lambda r: blind[r].value)
            why = (
                f"With {worst:.0%} hidden the model is worse than counting words by {blind[worst].value:.2f} nats a "
                "token: it never learned the states that writing starts from."
            )
            step = "Train under a law that reaches r = 1: n ~ U{1..L}, or t = sqrt(u) for more high masks."
        elif unseen:
            why = f"Training never hides more than {shown:.0%} of a row, and writing starts with everything hidden."
            step = "Train under a law that reaches r = 1: n ~ U{1..L}, or t = sqrt(u) for more high masks."
        elif no_cloze:
            why, step = (
                "Even with most words in view the model knows no more than pairs of neighbours.",
                "Train longer.",
            )
        else:
            why, step = "At every share of hidden words the model knows more than counts of words do.", ""
        xs = sorted(rows)
        fault, repair = "", ""
        if blind and min(blind) < 0.5:
            low_r = min(blind)
            fault = f"With {low_r:.0%} masked the model knows less than counting words does."
            # not the states that writing starts from alone: nothing was learned, or other targets
            repair = "training.steps" if set(blind) == set(rows) else "training.ratios"
        elif unseen and shown is not None and not blind:
            fault = f"Training never masks more than {shown:.0%} of a row."
        return Finding(
            status,  # type: ignore[arg-type]
            fault=fault,
            repair=repair,
            measured=measured,
            threshold="at no ratio surely worse than unigrams; training reaches r > 0.9; at r = 0.3 not surely "
            "worse than "
            "bigrams",
            why=why,
            next_step=step,
            numbers={
                "ratios": xs,
                "nats": [rows[r]["ce"].value for r in xs],
                "error": [rows[r]["ce"].error for r in xs],
                "accuracy": [rows[r]["hit"].value for r in xs],
                "unigram_nats": [rows[r]["unigram"].value for r in xs],
                "bigram_nats": [rows[r]["bigram"].value for r in xs],
                "unigram_entropy_nats": counts.entropy,
                "cloze_skill_nats": cloze_skill,
                "writing_skill_nats": writing,
                "highest_ratio_in_training": shown,
            },
            plot=Plot(
                "lines",
                xs,
                {
                    "model": [rows[r]["ce"].value for r in xs],
                    "unigrams": [rows[r]["unigram"].value for r in xs],
                    "bigrams": [rows[r]["bigram"].value for r in xs],
                },
                "share of positions hidden",
                "nats a token",
                ("unigrams", "bigrams"),
            ),
            # nats lost against counting words, as a share of what counting words costs
            share=max((m.value for m in blind.values()), default=0.0) / max(counts.entropy, 1e-9)
            + 0.5 * (bool(blind) or unseen),
        )

    @staticmethod
    def _at(context: CheckContext, ratio: float) -> dict[str, Mean]:
        scores = context.at_ratio(ratio)
        counts = context.counts
        state = context.state(ratio)
        target_N = scores.target_N.cpu()
        left_BL = torch.nn.functional.pad(state.x_BL[:, :-1], (1, 0), value=-1)
        left_N = left_BL.masked_fill(left_BL == context.mask_id, -1)[state.at_BL].cpu()
        unigram_N, bigram_N = counts.unigram_ce(target_N), counts.bigram_ce(left_N, target_N)
        row_N = scores.row_N.cpu()

        def mean(value_N: torch.Tensor) -> Mean:
            return mean_by_text(value_N, row_N)

        return {
            "ce": mean(scores.ce_N),
            "hit": mean(scores.hit_N.double()),
            "unigram": mean(unigram_N),
            "bigram": mean(bigram_N),
            "over_unigram": mean(scores.ce_N - unigram_N),
            "over_bigram": mean(scores.ce_N - bigram_N),
        }

    @staticmethod
    def _highest_trained(context: CheckContext) -> float | None:
        """The largest share of a row that training hides, over a few seeds."""
        if not context.subject.provides("training_view"):
            return None
        views = [context.view(seed) for seed in range(context.budget.repeats)]
        return max(float(context.masked_share(v.x_BL).max()) for v in views)
