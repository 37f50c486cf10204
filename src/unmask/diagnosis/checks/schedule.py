from __future__ import annotations

from dataclasses import dataclass

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.division import schedule_of
from unmask.diagnosis.finding import Finding

#: share of what context can give that a division of tokens may lose to the best one
WARN, FAIL = 0.02, 0.05


@dataclass(frozen=True)
class Divided(Check):
    """Are tokens well divided among the steps?

    The numbers of tokens that the sampler writes in its steps cost a staircase under the loss over the masked fraction
    (see ``factorisation``). The lowest staircase of as many steps is found by dynamic programming, and what the
    sampler's own lies above it is put beside all that context can give. Even divisions lose 1.2 % at most on the models
    that this was tried on; it warns above 2 % and fails above 5 %. Both staircases stand under one measured curve, so
    its error all but cancels. A sampler that writes more where it is surer has other numbers in each row, which a
    random order's curve does not know: it is warned at most. One that writes places again is not asked.
    """

    title = "Are tokens well divided among the steps?"
    fault = "Tokens are badly divided among the steps."
    needs = ("data", "predict", "generate")
    kinds = ("masked",)
    apart = "a causal model writes one token a step"
    repair = "sampler.schedule"
    leads_to = ("safe_words", "length", "frontier")

    def run(self, context: CheckContext) -> Finding:
        schedule = schedule_of(context)
        if not schedule.once:
            return Finding("not_run", why="places are written more than once, so tokens are not divided among steps")
        share = schedule.lost(schedule.own, schedule.best)
        status = "pass" if share <= WARN else "fail" if share > FAIL and schedule.alike else "warn"
        return Finding(
            status,  # type: ignore[arg-type]
            fault=f"Tokens are badly divided among {schedule.steps} steps: {share:.0%} of what context gives is lost.",
            measured=f"{schedule.own:.3f} nats a token in {schedule.steps} steps, {schedule.best:.3f} with the best "
            f"numbers of tokens: {share:+.1%} of all that context can give ({schedule.most_in_one_step} tokens at most "
            "in one step)",
            threshold=f"{WARN:.0%}; {FAIL:.0%} to fail, where each row has the same numbers",
            why="Too much is written while little is visible, or steps are spent where nothing is left to decide."
            if status != "pass"
            else "As many steps cannot be used much better.",
            next_step="Write evenly, or fewer tokens first; see the plan's quota." if status != "pass" else "",
            numbers={
                "steps": schedule.steps,
                "own_nats": schedule.own,
                "best_nats": schedule.best,
                "share_of_context_lost": share,
                "most_in_one_step": schedule.most_in_one_step,
            },
            share=max(share, 0.0) if status != "pass" else 0.0,
            own=status == "fail",
        )
