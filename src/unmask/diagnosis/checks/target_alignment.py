from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.finding import Finding, Plot
from unmask.diagnosis.lab import Lab
from unmask.diagnosis.statistics import Mean, mean_by_text

#: what goes wrong downstream of a wrong answer, whichever way it is wrong
EVERYTHING = (
    "loss_by_ratio",
    "latent_use",
    "position_awareness",
    "compounding",
    "safe_words",
    "guidance",
    "length",
    "frontier",
    "factorisation",
    "draw_calibration",
    "order",
    "cache",
)


@dataclass(frozen=True)
class TargetAlignment(Check):
    """Does each prediction speak of its own position, or of its neighbour?

    The same predictions are scored against the token one before, at, and one after the position asked about. The true
    position must be the cheapest; it fails if a neighbour is surely cheaper (paired difference, 4 standard errors). A
    prediction that fits nothing is not misaligned: the neighbour must also be known, that is cost at most a tenth more
    than training's own loss, or than counting words.
    """

    title = "Are predictions off by one?"
    fault = "Predictions are off by one position."
    leads_to = ("train_inference", "future_invariance", *EVERYTHING)

    def run(self, lab: Lab) -> Finding:
        state, ids_BL = lab.usual_state(), lab.batch.ids_BL
        inside_BL = lab.in_text(ids_BL)
        # all three targets must exist, so that the same rows are compared
        whole_BL = inside_BL & inside_BL.roll(1, 1) & inside_BL.roll(-1, 1)
        whole_BL[:, 0] = whole_BL[:, -1] = False
        at_BL = state.at_BL & whole_BL
        state = type(state)(state.x_BL, at_BL, state.cond)
        row_N = at_BL.nonzero()[:, 0].cpu()
        parts: dict[int, list[torch.Tensor]] = {-1: [], 0: [], 1: []}
        for first, last, logits_NV in lab.answers(state):
            logp_NV = logits_NV.float().log_softmax(-1)
            for offset, values in parts.items():
                target_N = ids_BL.roll(-offset, 1)[first:last][at_BL[first:last]]
                values.append(-logp_NV.gather(-1, target_N[:, None]).squeeze(-1).double().cpu())
        ce = {offset: torch.cat(values) for offset, values in parts.items()}
        means = {offset: mean_by_text(value, row_N) for offset, value in ce.items()}
        gaps: dict[int, Mean] = {o: mean_by_text(ce[0] - ce[o], row_N) for o in (-1, 1)}
        worst = max(gaps, key=lambda o: gaps[o].value)
        known = lab.counts.entropy
        if lab.subject.provides("training_view"):
            known = max(known, float(lab.subject.training_view(lab.batch, 0).ce_N.double().mean()))
        off = gaps[worst].surely_above > 0 and means[worst].value <= 1.1 * known
        level = means[0].value
        return Finding(
            "fail" if off else "pass",
            measured=f"{means[-1].value:.2f} nats for the token before, {level:.2f} for the token itself, "
            f"{means[1].value:.2f} for the token after",
            threshold=f"the token itself must not surely cost more than a neighbour that costs below {1.1 * known:.2f}",
            why=f"Each prediction fits the token {'after' if worst > 0 else 'before'} its position, so every word is "
            "written in the wrong place."
            if off
            else "Each prediction fits its own position best.",
            next_step="Check who shifts: causal heads predict the next position, masked ones their own; shift once, in "
            "training and in inference."
            if off
            else "",
            numbers={f"nats_at_{o:+d}": m.value for o, m in means.items()},
            plot=Plot(
                "bars",
                ["before", "itself", "after"],
                {"cross-entropy": [means[o].value for o in (-1, 0, 1)]},
                "target",
                "nats a token",
            ),
            share=0.5 + 0.5 * gaps[worst].value / max(level, 1e-9) if off else 0.0,
        )
