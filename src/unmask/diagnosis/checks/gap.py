from __future__ import annotations

from dataclasses import dataclass

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext, TokenScores
from unmask.diagnosis.finding import Finding, Plot
from unmask.diagnosis.statistics import Mean, difference, mean_by_text
from unmask.diagnosis.subject import State

#: masked fractions that are asked about, and the share of what is known that may be known of training text alone
RATIOS, ROOM = (0.3, 1.0), 0.1


@dataclass(frozen=True)
class Gap(Check):
    """Is training text better known than held-out text?

    Training rows and held-out rows in the same kind of state, at 3 of 10 tokens masked and with everything masked, each
    token beside what counting words says of it: what is left is what the model knows. It fails if training text is
    surely (4 standard errors of a difference of unpaired means, texts as units, more for few) known better by more
    than a tenth of what is known of it, at either fraction; by chance in fewer than 1 of 5,000 cases (two questions).
    """

    title = "Is training text better known than held-out text?"
    fault = "Training text is known better than held-out text."
    repair = "training.data"
    leads_to = ("memorisation", "loss_by_ratio", "skill")

    def run(self, context: CheckContext) -> Finding:
        rows = context.subject.data(context.budget.rows, "train")
        if rows.cond is None and context.batch.cond is not None:
            return Finding("not_run", why="the training rows come without their semantic vectors")
        asked: dict[float, tuple[TokenScores, TokenScores]] = {}
        if context.subject.kind == "masked":
            for ratio in RATIOS:
                asked[ratio] = context.score(context.state(ratio, rows), rows.ids_BL), context.at_ratio(ratio)
        else:
            at_BL = context.in_text(rows.ids_BL)
            at_BL[:, 0] = False
            asked[0.0] = (
                context.score(State(rows.ids_BL, context.some(at_BL), rows.cond), rows.ids_BL),
                context.next_token(),
            )
        known = {
            ratio: (self._known(context, train), self._known(context, held)) for ratio, (train, held) in asked.items()
        }
        gaps = {ratio: difference(train, held) for ratio, (train, held) in known.items()}
        over = {r: gaps[r] for r, (train, _) in known.items() if gaps[r].surely_above > ROOM * abs(train.value)}
        worst = max(over, key=lambda r: over[r].value, default=None)
        level = float("inf") if worst is None else float(asked[worst][1].ce_N.mean())
        return Finding(
            "pass" if worst is None else "fail",
            measured="; ".join(
                f"{'next tokens' if r == 0 else f'r = {r:g}'}: {train.value:+.2f} nats known of training text, "
                f"{held.value:+.2f} of held-out text ({gaps[r]} apart)"
                for r, (train, held) in known.items()
            ),
            threshold=f"not surely {ROOM:.0%} of what is known",
            why="It knows these texts, and not the language that they are written in, so new text gets less than "
            "training's loss promises."
            if worst is not None
            else "It knows held-out text as well as training text.",
            next_step="Train on more text, fewer passes over it, or with dropout and weight decay; a larger network "
            "makes this worse."
            if worst is not None
            else "",
            numbers={
                "ratios": list(known),
                "training_known_nats": [t.value for t, _ in known.values()],
                "held_out_known_nats": [h.value for _, h in known.values()],
                "gap_nats": [g.value for g in gaps.values()],
                "gap_error": [g.error for g in gaps.values()],
            },
            plot=Plot(
                "bars",
                [f"r = {r:g}" for r in known],
                {
                    "training": [t.value for t, _ in known.values()],
                    "held out": [h.value for _, h in known.values()],
                },
                "share of positions masked",
                "nats a token better than counting words",
            ),
            share=0.0 if worst is None else over[worst].value / max(level, 1e-9),
        )

    @staticmethod
    def _known(context: CheckContext, scores: TokenScores) -> Mean:
        return mean_by_text(context.counts.unigram_ce(scores.target_N.cpu()) - scores.ce_N, scores.row_N.cpu())
