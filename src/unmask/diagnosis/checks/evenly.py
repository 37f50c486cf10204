from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.statistics import Mean, plain_mean

#: share of the number that a dependence on difficulty may move
ROOM = 0.02


@dataclass(frozen=True)
class Evenly(Check):
    """Does a token weigh the same in the reported number however hard it was?

    In a bound, and in a mean, the weight of a token hangs on its row (how much of it is hidden, how long it is) and at
    most on its column, never on its own cross-entropy. Each weight is divided by the mean of its row, and the mean of
    these in each column is taken away; what is left, times the cross-entropies, is what the choice of tokens by their
    difficulty adds to the number (0 where there is none). Rows under several seeds are the unit; it fails where that is
    surely (4 standard errors, more for few: 6e-5 by chance) more than 2 % of the number: hard tokens left out as
    outliers, clipped, or counted twice.
    """

    title = "Does a hard token weigh as much as an easy one?"
    fault = "The reported number weighs tokens by how hard they are."
    needs = ("data", "training_view")
    repair = "report"

    def run(self, context: CheckContext) -> Finding:
        inside_BL = context.in_text(context.batch.ids_BL).cpu()
        B, L = inside_BL.shape
        moved, total = [], []
        for seed in range(2 * context.budget.repeats):
            view = context.view(seed)
            if view.weight_N is None:
                return Finding("not_run", why="the view tells no weights")
            row_N, col_N = (i.cpu() for i in view.scored_BL.nonzero(as_tuple=True))
            at_N = inside_BL[row_N, col_N]
            row_N, col_N = row_N[at_N], col_N[at_N]
            weight_N, ce_N = view.weight_N.double().cpu()[at_N], view.ce_N.double().cpu()[at_N]
            mean_N = _mean_by(weight_N, row_N, B)[row_N]
            beside_N = weight_N / mean_N.where(mean_N > 0, torch.ones(()).double())
            odd_N = (beside_N - _mean_by(beside_N, col_N, L)[col_N]) * mean_N
            moved.append(torch.zeros(B, dtype=torch.float64).index_add(0, row_N, odd_N * ce_N))
            total.append(float((weight_N * ce_N).sum()))
        number = sum(total) / len(total)
        if not number:
            return Finding("not_run", why="no token of the text is scored")
        effect = plain_mean(torch.cat(moved) * B)
        share = Mean(effect.value / number, effect.error / abs(number), effect.texts)
        off = max(share.surely_above, -share.surely_below)
        wrong = off > ROOM
        return Finding(
            "fail" if wrong else "pass",
            measured=f"weights that follow a token's difficulty change the number by {share.value:+.1%} "
            f"(± {2 * share.error:.1%})",
            threshold=f"surely no more than {ROOM:.0%}",
            why="A number that leaves out or lowers what the model finds hard says how well it knows what it knows."
            if wrong
            else "A token's weight does not hang on how hard it was.",
            next_step="Give every scored token of a row the same weight; drop no outliers." if wrong else "",
            numbers={"moved_share": share.value, "error": share.error},
            share=min(1.0, abs(share.value)) if wrong else 0.0,
            own=wrong,
        )


def _mean_by(value_N: torch.Tensor, group_N: torch.Tensor, groups: int) -> torch.Tensor:
    zeros = torch.zeros(groups, dtype=torch.float64)
    return zeros.index_add(0, group_N, value_N) / zeros.index_add(0, group_N, torch.ones_like(value_N)).clamp(min=1)
