from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.checks.target_alignment import EVERYTHING
from unmask.diagnosis.context import CheckContext, moved
from unmask.diagnosis.finding import Finding


@dataclass(frozen=True)
class BatchInvariance(Check):
    """Does a row get the same answer alone and in company?

    Eight rows are asked about together, in reversed order, and one by one. What may move is what moves when the same
    batch is asked twice, times 4, and rounding (sums in another order); above that it warns, above 1 % of the
    probability it fails.
    """

    title = "Does the batch change the answer?"
    fault = "A row's answer depends on the other rows of its batch."
    repair = "network.mode"
    leads_to = ("train_inference", *EVERYTHING)

    def run(self, context: CheckContext) -> Finding:
        state = context.usual_state().rows(0, 8)
        together = context.subject.predict(state)
        row_N = state.at_BL.nonzero()[:, 0]
        alone = torch.cat([context.subject.predict(state.rows(i, i + 1)) for i in range(len(state.x_BL))])
        back = list(range(len(state.x_BL)))[::-1]
        turned = type(state)(state.x_BL[back], state.at_BL[back], None if state.cond is None else state.cond[back])  # type: ignore[index]
        reversed_N = context.subject.predict(turned)
        count_B = state.at_BL.sum(1).tolist()
        pieces = list(reversed_N.split([count_B[i] for i in back]))[::-1]
        apart = float(moved(together, alone).mean())
        order = float(moved(together, torch.cat(pieces)).mean())
        floor = max(4 * context.noise_floor(), context.rounding())
        worst = max(apart, order)
        status = "fail" if worst > max(floor, 0.01) else "warn" if worst > floor else "pass"
        return Finding(
            status,  # type: ignore[arg-type]
            measured=f"{apart:.2%} of the probability moves when rows are asked one by one, {order:.2%} when "
            "their order "
            "is reversed",
            threshold=f"{floor:.2g} (asking twice, and rounding); 1 % to fail",
            why="Scores and texts change with the batch size, so no number can be reproduced."
            if status != "pass"
            else "A row is answered the same in any company.",
            next_step="Look for statistics over the batch (BatchNorm, a shared quota), shared noise, and padding that "
            "is attended to."
            if status != "pass"
            else "",
            numbers={"alone": apart, "reversed": order, "floor": floor, "rows": len(row_N)},
            share=worst if status == "fail" else 0.0,
        )
