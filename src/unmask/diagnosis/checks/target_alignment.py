from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext, read
from unmask.diagnosis.finding import Finding, Plot
from unmask.diagnosis.statistics import mean_by_text
from unmask.diagnosis.subject import State

#: where the target stands, seen from the position asked about
OFFSETS = (-1, 0, 1)

#: what goes wrong downstream of a wrong answer, whichever way it is wrong. Not what is measured against the very
#: answers of ``predict`` (draws, schedule, order): these are the sampler's own
EVERYTHING = (
    "loss_by_ratio",
    "latent_use",
    "position_awareness",
    "compounding",
    "safe_words",
    "guidance",
    "length",
    "frontier",
    "gap",
    "skill",
    "cache",
    # where no known law explains what was drawn, or no temperature does
    "replay",
    "draw_calibration",
)


@dataclass(frozen=True)
class TargetAlignment(Check):
    """Does each prediction speak of its own position, or of its neighbour?

    The same predictions are scored against the token one before, at, and one after the position asked about; from each
    cross-entropy that of counting words is taken away, since some places hold more common words than others. What is
    left is what the prediction knows of that token. A masked subject is asked where both neighbours are hidden too, so
    that nothing is copied (7 and 9 tenths of the canvas are hidden). It fails if a neighbour is surely known better
    than the token itself (paired difference, 4 standard errors, more for few texts) and surely known at all.
    """

    title = "Are predictions off by one?"
    fault = "Predictions are off by one position."
    repair = "network.positions"
    leads_to = ("train_inference", "future_invariance", *EVERYTHING)

    def run(self, context: CheckContext) -> Finding:
        causal = context.subject.kind == "causal"
        # with less hidden few positions have both neighbours hidden, with more the predictions know less
        masked = [context.state((0.7, 0.9)[i % 2], name=i) for i in range(0 if causal else 2 * context.budget.repeats)]
        states = [context.usual_state()] if causal else masked
        asked = [self._known(context, state) for state in states]
        rows = torch.cat([row_N for row_N, _, _ in asked])
        if not len(rows):
            return Finding("not_run", why="no text is long enough to have neighbours hidden on both sides")
        row_N = rows
        means = {o: mean_by_text(torch.cat([ce[o] for _, ce, _ in asked]), row_N) for o in OFFSETS}
        known = {o: torch.cat([gain[o] for _, _, gain in asked]) for o in OFFSETS}
        better = {o: mean_by_text(known[o] - known[0], row_N) for o in (-1, 1)}
        worst = max(better, key=lambda o: better[o].value)
        off = better[worst].surely_above > 0 and mean_by_text(known[worst], row_N).surely_above > 0
        level = means[0].value
        gains = {o: mean_by_text(known[o], row_N).value for o in OFFSETS}
        return Finding(
            "fail" if off else "pass",
            measured=f"{gains[-1]:+.2f} nats known of the token before, {gains[0]:+.2f} of the token itself, "
            f"{gains[1]:+.2f} of the token after",
            threshold="no neighbour surely known, and known better than the token itself",
            why=f"Each prediction fits the token {'after' if worst > 0 else 'before'} its position, so every word is "
            "written in the wrong place."
            if off
            else "Each prediction fits its own position best.",
            next_step="Check who shifts: causal heads predict the next position, masked ones their own; shift once, in "
            "training and in inference."
            if off
            else "",
            numbers={f"nats_at_{o:+d}": m.value for o, m in means.items()}
            | {f"known_at_{o:+d}": g for o, g in gains.items()},
            plot=Plot(
                "bars",
                ["before", "itself", "after"],
                {"known": [gains[o] for o in OFFSETS]},
                "target",
                "nats a token better than counting words",
            ),
            share=0.5 + 0.5 * better[worst].value / max(level, 1e-9) if off else 0.0,
        )

    @staticmethod
    def _known(context: CheckContext, state: State) -> tuple[Tensor, dict[int, Tensor], dict[int, Tensor]]:
        """The text of each position asked about; nats of each target; nats known beyond counting words."""
        ids_BL = context.batch.ids_BL
        asked_BL = context.in_text(ids_BL)
        if context.subject.kind == "masked":
            asked_BL = asked_BL & (state.x_BL == context.mask_id)
        # all three targets must exist, so that the same rows are compared
        whole_BL = asked_BL & asked_BL.roll(1, 1) & asked_BL.roll(-1, 1)
        whole_BL[:, 0] = whole_BL[:, -1] = False
        at_BL = state.at_BL & whole_BL
        target = {offset: ids_BL.roll(-offset, 1) for offset in OFFSETS}
        parts: dict[int, list[Tensor]] = {offset: [torch.zeros(0, dtype=torch.float64)] for offset in OFFSETS}
        for first, last, logits_NV in context.answers(replace(state, at_BL=at_BL)):
            for offset in OFFSETS:
                parts[offset].append(read(logits_NV, target[offset][first:last][at_BL[first:last]])[0])
        ce = {offset: torch.cat(values) for offset, values in parts.items()}
        gain = {offset: context.counts.unigram_ce(target[offset][at_BL].cpu()) - ce[offset] for offset in OFFSETS}
        return at_BL.nonzero()[:, 0].cpu(), ce, gain
