from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.bound import mean_bound
from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.statistics import Mean, plain_mean
from unmask.diagnosis.subject import TrainingView


@dataclass(frozen=True)
class BoundCalibration(Check):
    """Is the published number on the scale it claims: would a uniform model score log V a text token?

    A published number is a weighted sum of cross-entropies. Put log V for each of them and a bound must answer log V a
    text token, so the weights on text tokens must sum to 1 in expectation (padding may only add), and none may be
    negative: a closed form, checked over several seeds with its standard error. The number must also be the sum that
    the weights make, to half the digits of fp32. Without weights, the number is compared with our own estimate of the
    same bound (exactly n ~ U{1..L} hidden positions), made through ``predict``. Weights that sum to 1 and yet depend on
    the length of a text (rows averaged before tokens) are ``bylength``'s, and weights that depend on how hard a token
    is ``evenly``'s. A number that claims no bound is to be what its weights make of the cross-entropies: where these
    are all alike, the mean itself, or its sum over a text or over all.
    """

    title = "Is the published bound on its own scale?"
    fault = "The published bound is off its own scale."
    reference = "arXiv 2406.07524, 2502.09992"
    needs = ("data", "training_view")

    #: relative slack on the factor beyond its standard error, for weights rounded in the subject's own arithmetic
    slack: float = 0.01
    repair = "report"

    def run(self, context: CheckContext) -> Finding:
        batch = context.batch
        inside_BL = context.in_text(batch.ids_BL)
        tokens = float(inside_BL.sum())
        factors, numbers_off, low, losses = [], [], 0.0, []
        for seed in range(2 * context.budget.repeats):
            view = context.view(seed)
            losses.append(view.loss)
            if not view.bound:
                return _plain_mean(view, len(batch))
            if view.weight_N is None:
                return self._against_own(context, losses)
            weight_N = view.weight_N.double().cpu()
            ce_N = view.ce_N.double().cpu()
            low = min(low, float(weight_N.min()))
            numbers_off.append(abs(float((weight_N * ce_N).sum()) - view.loss) / max(abs(view.loss), 1e-9))
            # a row's share of the factor, so that rows are the unit of the error
            row_N, col_N = (i.cpu() for i in view.scored_BL.nonzero(as_tuple=True))
            text_N = inside_BL.cpu()[row_N, col_N]
            per_row_B = torch.zeros(len(batch), dtype=torch.float64).index_add(0, row_N, weight_N * text_N)
            factors.append(per_row_B * len(batch))
        factor = plain_mean(torch.cat(factors))
        # rows of one seed are spread evenly (antithetic), which the plain error does not know: seeds bound it too
        by_seed = plain_mean(torch.stack([f.mean() for f in factors]))
        factor = min(factor, Mean(factor.value, by_seed.error, by_seed.texts), key=lambda m: m.room)
        room = self.slack + factor.room
        off = abs(factor.value - 1)
        wrong = off > room or low < 0 or max(numbers_off) > 3e-4
        what = f"a uniform model would score {factor.value:.3f} x log V a text token (± {2 * factor.error:.3f})"
        if low < 0:
            what += f"; a weight is negative ({low:.3g})"
        if max(numbers_off) > 3e-4:
            what += f"; the published number differs from its own weights' sum by {max(numbers_off):.1%}"
        return Finding(
            "fail" if wrong else "pass",
            measured=what,
            threshold=f"1 x log V within {room:.3f}; no negative weight",
            why="A number off by a factor cannot be compared with anybody's, and its exponential is no perplexity."
            if wrong
            else "Weights on text tokens sum to one, so the number is on the scale of a perplexity.",
            next_step="Check the weight -alpha'/(1-alpha) (or L/n), what the sum is divided by, and whether padding is "
            "in the divisor."
            if wrong
            else "",
            numbers={
                "factor": factor.value,
                "factor_error": factor.error,
                "lowest_weight": low,
                "sum_off": max(numbers_off),
                "text_tokens": tokens,
            },
            share=min(off, abs(1 - 1 / max(factor.value, 1e-9))),
        )

    def _against_own(self, context: CheckContext, first: list[float]) -> Finding:
        published = plain_mean(
            torch.tensor(first + [context.view(k).loss for k in range(1, 2 * context.budget.repeats)])
        )
        own = mean_bound(context)
        ratio = published.value / own.value
        room = self.slack + (published.room + own.room * abs(ratio)) / abs(own.value)
        wrong = abs(ratio - 1) > room
        return Finding(
            "fail" if wrong else "pass",
            measured=f"published {published.value:.3f} nats a token; our estimate of the same bound {own.value:.3f} "
            f"(± {2 * own.error:.3f}): ratio {ratio:.3f}",
            threshold=f"ratio 1 within {room:.3f}",
            why="A number off by a factor cannot be compared with anybody's, and its exponential is no perplexity."
            if wrong
            else "Two ways to estimate the bound agree.",
            next_step="Return weight_N from training_view to see which weight is off." if wrong else "",
            numbers={"published_nats": published.value, "own_nats": own.value, "ratio": ratio},
            share=min(abs(ratio - 1), abs(1 - 1 / max(ratio, 1e-9))),
        )


def _plain_mean(view: TrainingView, rows: int) -> Finding:
    """What is to be said of a number that claims no bound."""
    numbers: dict[str, float | bool] = {"loss_nats": view.loss, "claims_bound": False}
    wrong = ""
    if view.weight_N is not None:
        weight_N, ce_N = view.weight_N.double().cpu(), view.ce_N.double().cpu()
        made = float((weight_N * ce_N).sum())
        off = abs(made - view.loss) / max(abs(view.loss), 1e-9)
        numbers["sum_off"] = off
        if off > 3e-4:
            wrong = f"it differs from its own weights' sum by {off:.1%}"
        elif float(weight_N.min()) < 0:
            wrong = f"a weight is negative ({float(weight_N.min()):.3g})"
        elif float(weight_N.max() - weight_N.min()) <= 1e-5 * float(weight_N.max()):
            times = float(weight_N.sum())
            numbers["factor"] = times
            # a mean over tokens; or the sum a text, or the sum
            if all(abs(times / right - 1) > 1e-3 for right in (1.0, len(ce_N) / rows, len(ce_N))):
                wrong = f"it is {times:.3f} times the mean of its cross-entropies"
    factor = float(numbers.get("factor", 2.0)) or 1e-9
    return Finding(
        "fail" if wrong else "pass",
        fault="The number that is watched is not the mean cross-entropy that it is read as." if wrong else "",
        measured=f"the number watched ({view.loss:.3f} nats) claims no bound"
        + (f"; {wrong}" if wrong else " and is a mean cross-entropy"),
        threshold="the sum that its weights make; where they are alike the mean, or the sum of a text or of all",
        why="A number off by a factor cannot be compared with anybody's."
        if wrong
        else "A mean over hidden tokens is a loss to train with; its exponential is not a perplexity.",
        next_step="Look at what the sum is divided by, and whether it is in nats."
        if wrong
        else "Publish a bound beside it: nats a token from `unmask evaluate`.",
        numbers=numbers,
        share=min(1.0, abs(factor - 1), abs(1 - 1 / factor)) if wrong else 0.0,
        own=bool(wrong),
    )
