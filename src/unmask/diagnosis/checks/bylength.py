from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding, Plot
from unmask.diagnosis.statistics import Mean, sure

#: slope that weights rounded by hand may have
ROOM = 0.1


@dataclass(frozen=True)
class ByLength(Check):
    """Does a token weigh the same in the reported number whatever the length of its text?

    The weights of the number that is watched, summed over the tokens of a text and divided by their number, are
    regressed on the logarithm of that number. In a number of nats a token every token weighs the same: the slope is 0
    (closed form). Where each row is averaged first and then the rows, a token of a long text weighs less: -1. Texts are
    the unit of the slope's error (heteroscedasticity-consistent, several seeds averaged); it fails where the slope is
    surely (4 standard errors, more for few texts: 6e-5 by chance) off zero by more than 0.1. A sum of weights is right
    under both, which is why ``bound_calibration`` cannot see this.
    """

    title = "Does a token weigh the same in long and short texts?"
    fault = "The reported number weighs tokens by the length of their text: rows are averaged before tokens."
    needs = ("data", "training_view")
    repair = "report"

    def run(self, context: CheckContext) -> Finding:
        inside_BL = context.in_text(context.batch.ids_BL).cpu()
        if context.subject.kind == "causal":
            inside_BL[:, 0] = False  # given, so it is neither scored nor divided by
        length_B = inside_BL.sum(1).double()
        x_B = length_B.log() - length_B.log().mean()
        if float(x_B.square().sum()) < 1e-3 * len(x_B):
            return Finding("not_run", why="all texts are about equally long")
        weights = []
        for seed in range(2 * context.budget.repeats):
            view = context.view(seed)
            if view.weight_N is None:
                return Finding("not_run", why="the view tells no weights")
            row_N, col_N = (i.cpu() for i in view.scored_BL.nonzero(as_tuple=True))
            weight_N = view.weight_N.double().cpu() * inside_BL[row_N, col_N]
            total_B = torch.zeros(len(length_B), dtype=torch.float64).index_add(0, row_N, weight_N)
            if not float(total_B.sum()):
                return Finding("not_run", why="no token of the text is scored")
            weights.append(total_B * length_B.sum() / length_B / (1.0 if view.bound else float(total_B.sum())))
        weight_B = torch.stack(weights).mean(0)
        slope = _slope(x_B, weight_B)
        off = max(slope.surely_above, -slope.surely_below)
        wrong = off > ROOM
        order = length_B.argsort()
        return Finding(
            "fail" if wrong else "pass",
            measured=f"a token's weight changes by {slope} for each factor of e in the length of its text",
            threshold=f"0 within {ROOM:g} + {sure(len(x_B)):.1f} standard errors; -1 where rows are averaged first",
            why="A mean of rows' means is another number than nats a token: short texts count too much in it."
            if wrong
            else "Every token weighs the same.",
            next_step="Sum over all tokens of the batch and divide once by their number." if wrong else "",
            numbers={"slope": slope.value, "error": slope.error, "texts": len(x_B)},
            plot=Plot(
                "lines",
                [float(v) for v in length_B[order]],
                {"weight": [float(v) for v in weight_B[order]], "alike": [1.0] * len(length_B)},
                "tokens of the text",
                "weight of a token beside the mean",
                ("alike",),
            ),
            share=min(1.0, abs(slope.value)) if wrong else 0.0,
            own=wrong,
        )


def _slope(x_B: torch.Tensor, y_B: torch.Tensor) -> Mean:
    """The slope of a line through points, with an error that allows for spreads that differ (White 1980)."""
    spread = float(x_B.square().sum())
    slope = float((x_B * y_B).sum()) / spread
    rest_B = y_B - y_B.mean() - slope * x_B
    error = float((x_B * rest_B).square().sum().sqrt()) / spread * (len(x_B) / max(len(x_B) - 2, 1)) ** 0.5
    return Mean(slope, error, len(x_B))
