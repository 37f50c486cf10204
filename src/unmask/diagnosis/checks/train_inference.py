from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.checks.target_alignment import EVERYTHING
from unmask.diagnosis.context import CheckContext, moved, read
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.statistics import mean_by_text
from unmask.diagnosis.subject import State


@dataclass(frozen=True)
class TrainInference(Check):
    """Does inference compute what training computed, on the very same state?

    Training's own states (inputs, condition) are put to ``predict``, which chooses time, self-conditioning, mask id,
    weights and dtype the way inference does; the two cross-entropies are compared token by token. Thresholds are A/A:
    training's forward twice under one seed, ``predict`` twice on one state, times 4, plus rounding. A disagreement
    beyond that is a warning up to 1 % of the loss and a failure above; and ``predict`` must give the same answer twice.
    """

    title = "Does inference compute something else than training did?"
    fault = "Inference computes something else than training did."
    needs = ("data", "training_view", "predict")
    repair = "training.inputs"
    leads_to = EVERYTHING

    def run(self, context: CheckContext) -> Finding:
        s, batch = context.subject, context.batch
        gaps, floors, rows, trained = [], [], [], []
        twice = 0.0
        for seed in range(2):
            view = context.view(seed)
            again = s.same_view(batch, seed, view)
            at_BL = context.some(view.scored_BL)
            kept_N = at_BL[view.scored_BL].cpu()
            state = State(view.x_BL, at_BL, view.cond)
            logits = [context.logits(state), context.logits(state)]
            twice = max(twice, float(moved(*logits).mean()))
            asked_N = batch.targets[at_BL]
            ce_N, other_N = (read(one, asked_N)[0] for one in logits)
            gaps.append(ce_N - view.ce_N.double().cpu()[kept_N])
            trained.append(view.ce_N.double().cpu()[kept_N])
            floors.append(torch.maximum((ce_N - other_N).abs(), (view.ce_N - again.ce_N).double().cpu()[kept_N].abs()))
            rows.append(at_BL.nonzero()[:, 0].cpu() + seed * len(batch))
        gap_N, row_N, level = torch.cat(gaps), torch.cat(rows), float(torch.cat(trained).mean())
        gap = mean_by_text(gap_N, row_N)
        apart = float(gap_N.abs().mean())
        floor = 4 * float(torch.cat(floors).mean()) + context.rounding() * max(level, 1.0)
        unsteady = twice > context.rounding()
        off = apart > floor
        status = "fail" if unsteady or apart > max(floor, 0.01 * level) else "warn" if off else "pass"
        said = f"predictions differ by {apart:.3f} nats a token on the same states (mean {gap})"
        if unsteady:
            said = f"predict gives another answer to the same question: {twice:.1%} of the probability moves; " + said
        if unsteady:
            why = (
                "Inference is noisy where training's validation is not: dropout is on, or noise is drawn in "
                "the forward."
            )
        elif status == "pass":
            why = "Training and inference agree on the states that training makes."
        else:
            why = (
                f"The model is asked in a way it was not trained for, which costs {gap.value:+.3f} nats a token before "
                "any sampling begins."
            )
        return Finding(
            status,  # type: ignore[arg-type]
            measured=said,
            threshold=f"{floor:.2g} nats (each path against itself, and rounding); 1 % of the loss to fail",
            why=why,
            next_step="Compare the two calls one by one: time (unit and direction), position of the logits, mask id, "
            "eval(), the weights (EMA or not), dtype, and what is fed back as self-conditioning."
            if status != "pass"
            else "",
            numbers={
                "apart_nats": apart,
                "gap_nats": gap.value,
                "gap_error": gap.error,
                "floor_nats": floor,
                "training_nats": level,
                "moved_when_asked_twice": twice,
            },
            fault="Inference gives another answer each time that it is asked." if unsteady else "",
            repair="network.mode" if unsteady else "",
            explains=("scored_visible", "order", "batch_invariance") if unsteady else (),
            share=max(apart / max(level, 1e-9), float(unsteady) * max(twice, 0.5)),
        )
