from __future__ import annotations

from dataclasses import dataclass

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.division import even_cost, loss_curve, positions_of, schedule_of
from unmask.diagnosis.finding import Finding, Plot


@dataclass(frozen=True)
class Factorisation(Check):
    """Are too many tokens written at once, blind to each other?

    k tokens drawn in one step are drawn independently. In a random order the nats a text then costs are a staircase
    under the curve of the loss over the masked fraction: each token pays the loss of the fraction at its step's start.
    With one token a step that is the model's bound; with all tokens in one step it is the loss at r = 1. The *best*
    division of the tokens among as many steps as the sampler takes (dynamic programming) has a staircase of its own,
    and its excess over one token a step is what the number of steps costs, beside the largest possible excess. It
    fails above a half of that, warns above a fifth. What the sampler's own division costs beyond the best one is
    ``schedule``'s. (Orders that prefer sure tokens lose less; this is the loss of the number of steps alone.)
    """

    title = "Are too many tokens written in one step?"
    fault = "Too many tokens are written in one step."
    needs = ("data", "predict", "generate")
    kinds = ("masked",)
    apart = "a causal model writes one token a step, so that no two are drawn blind to each other"
    repair = "sampler.schedule"
    leads_to = ("safe_words", "length", "frontier")

    def run(self, context: CheckContext) -> Finding:
        found = schedule_of(context)
        positions, loss = positions_of(context), loss_curve(context)
        curve = {k: even_cost(loss, positions, k) for k in _powers(positions)}
        share = found.lost(found.best, found.one_at_a_time)
        status = "fail" if share > 0.5 else "warn" if share > 0.2 else "pass"
        return Finding(
            status,  # type: ignore[arg-type]
            fault=f"Too many tokens are written in one step: {found.tokens_per_step:.1f} in {found.steps} steps.",
            measured=f"{found.steps} steps cost {found.best - found.one_at_a_time:+.3f} nats a token over one token at "
            f"a time, {share:.0%} of all that context can give ({found.tokens_per_step:.1f} tokens a step)",
            threshold="a fifth; half to fail",
            why="Tokens drawn together cannot agree with each other, so phrases are mixed from several texts."
            if status != "pass"
            else "Few enough tokens are written together.",
            next_step="Take more steps, or an order that writes only sure tokens together." if status != "pass" else "",
            numbers={
                "tokens_per_step": found.tokens_per_step,
                "most_in_one_step": found.most_in_one_step,
                "own_nats": found.own,
                "best_nats": found.best,
                "one_at_a_time_nats": found.one_at_a_time,
                "all_at_once_nats": found.at_once,
                "share_of_context_lost": share,
            },
            plot=Plot(
                "lines",
                [float(k) for k in curve],
                {"random order": list(curve.values()), "this sampler": [found.own] * len(curve)},
                "tokens a step",
                "nats a token",
                ("this sampler",),
            ),
            share=share if status != "pass" else 0.0,
            own=status == "fail",
        )


def _powers(L: int) -> list[int]:
    return [k for k in (2**i for i in range(12)) if k < L] + [L]
