from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext, TokenScores
from unmask.diagnosis.finding import Finding, Plot
from unmask.diagnosis.statistics import Mean, difference, mean_by_text
from unmask.diagnosis.subject import Batch, State


@dataclass(frozen=True)
class Compounding(Check):
    """Do errors feed on errors: is the model lost in text that it wrote itself?

    The plainest sampler (one position at a time, or in 32 steps, random order, temperature 1, through ``predict``)
    writes texts. Then 15 % of each text is hidden and predicted again, once in true texts and once in these. Text drawn
    from a consistent model costs it exactly what it expects: cross-entropy minus the prediction's own entropy is zero.
    What it costs more on its own text than that, and than on true text, is what compounding does. The scale is what
    context is worth at all: the nats between r = 1 and a mostly visible true text. It fails where the excess is surely
    positive (4 standard errors, more for few texts) and more than half of that worth, and warns above a quarter.
    """

    title = "Do errors compound in the model's own text?"
    fault = "Errors compound in the text that the model writes itself."
    kinds = ("masked",)
    apart = "a causal model cannot be asked again about a token behind which others stand"
    quick = True
    repair = "training.inputs"
    leads_to = ("safe_words", "frontier")

    def run(self, context: CheckContext) -> Finding:
        rows = min(context.budget.samples, 32)
        batch = context.batch.rows(0, rows)
        own = Batch(context.once("rollout", lambda: context.rollout(batch)), batch.cond)
        gold_gap, gold = self._surprise(context, batch)
        own_gap, mine = self._surprise(context, own)
        # a model that is too modest about true text is owed nothing for it: consistent text costs what is expected
        excess = min(difference(own_gap, gold_gap), own_gap, key=lambda gap: gap.surely_above)
        at_one = context.at_ratio(1.0)
        worth = float(at_one.ce_N.mean() - gold.ce_N.mean())
        share = excess.value / max(worth, 1e-9)
        sure = excess.surely_above > 0
        status = "fail" if sure and share > 0.5 else "warn" if sure and share > 0.25 else "pass"
        hits_gold, hits_own = float(gold.hit_N.double().mean()), float(mine.hit_N.double().mean())
        return Finding(
            status,  # type: ignore[arg-type]
            measured=f"re-predicted tokens cost {own_gap} nats more than the model expects in its own text, "
            f"{gold_gap} in "
            f"true text; accuracy {hits_own:.0%} against {hits_gold:.0%}",
            threshold=f"excess at most half of what context is worth ({worth:.2f} nats a token)",
            why="Each wrong word makes the next one worse: the model was only ever shown true context."
            if status != "pass"
            else "The model is about as much at home in its own text as in true text.",
            next_step="Write fewer tokens a step, remask (ReMDM) or train on the model's own partial texts (unrolling)."
            if status != "pass"
            else "",
            numbers={
                "own_excess_nats": own_gap.value,
                "gold_excess_nats": gold_gap.value,
                "excess_nats": excess.value,
                "excess_error": excess.error,
                "worth_of_context_nats": worth,
                "accuracy_own": hits_own,
                "accuracy_gold": hits_gold,
            },
            plot=Plot(
                "bars",
                ["true text", "own text"],
                {
                    "cost of re-predicted tokens": [float(gold.ce_N.mean()), float(mine.ce_N.mean())],
                    "what the model expected": [float(gold.entropy_N.mean()), float(mine.entropy_N.mean())],
                },
                "",
                "nats a token",
            ),
            share=share if status != "pass" else 0.0,
        )

    @staticmethod
    def _surprise(context: CheckContext, batch: Batch) -> tuple[Mean, TokenScores]:
        """Cross-entropy minus expected entropy of hidden tokens, over a few maskings."""
        parts = []
        for name in range(2):
            x_BL, hidden_BL = context.hide(batch.ids_BL, 0.15, name)
            at_BL = hidden_BL & context.in_text(batch.ids_BL)
            parts.append(context.score(State(x_BL, at_BL, batch.cond), batch.ids_BL))
        scores = TokenScores(*(torch.cat([getattr(p, f) for p in parts]) for f in TokenScores.__dataclass_fields__))
        return mean_by_text(scores.ce_N - scores.entropy_N, scores.row_N.cpu()), scores
