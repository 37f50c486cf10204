from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding, Plot


@dataclass(frozen=True)
class TimeDirection(Check):
    """Is the sampler's clock training's clock?

    Training gives pairs (masked fraction, time fed); the sampler's steps give the same pairs. At each of the sampler's
    fractions the time must lie within what training feeds near that fraction (a tenth around it, which is wider than
    the spread of a schedule on rows of this length). It fails if more than half of the steps lie outside, or if time
    falls with the fraction where it rises in training; it warns from a tenth on.
    """

    title = "Does the sampler's time run backwards?"
    fault = "The sampler's clock is not training's clock."
    needs = ("data", "training_view", "generate")
    kinds = ("masked",)
    apart = "a causal model is told no time"
    repair = "network.time"
    leads_to = ("safe_words", "length", "frontier", "draw_calibration", "order", "memorisation")

    def run(self, context: CheckContext) -> Finding:
        views = [context.view(seed) for seed in range(context.budget.repeats)]
        if any(v.t_B is None for v in views):
            return Finding("not_run", why="training feeds no time (t_B), so no clock can run wrong")
        steps = context.samples().steps
        if not steps or any(s.t_B is None for s in steps):
            return Finding(
                "not_run",
                why="generate does not tell the time of its steps",
                next_step="Return steps with t_B from generate.",
            )
        trained_f = torch.cat([self._fraction(context, v.x_BL) for v in views])
        trained_t = torch.cat([v.t_B.double().cpu() for v in views if v.t_B is not None])
        told_f = torch.cat([self._fraction(context, s.x_BL) for s in steps])
        told_t = torch.cat([s.t_B.double().cpu() for s in steps if s.t_B is not None])
        live = ~torch.isnan(told_t) & (told_f > 0)
        told_f, told_t = told_f[live], told_t[live]
        near = (told_f[:, None] - trained_f[None]).abs() <= 0.1
        # fractions that training never shows say nothing about its clock; loss_by_ratio names them
        shown = near.any(1)
        near, told_f, told_t = near[shown], told_f[shown], told_t[shown]
        if not len(told_f):
            return Finding("not_run", why="training never shows the masked fractions that the sampler visits")
        low = torch.where(near, trained_t[None], float("inf")).amin(1)
        high = torch.where(near, trained_t[None], float("-inf")).amax(1)
        outside = float(((told_t < low - 1e-6) | (told_t > high + 1e-6)).double().mean())
        trend, train_trend = _slope(told_f, told_t), _slope(trained_f, trained_t)
        backwards = trend * train_trend < 0
        status = "fail" if backwards or outside > 0.5 else "warn" if outside > 0.1 else "pass"
        grid = [i / 10 for i in range(1, 11)]
        return Finding(
            status,  # type: ignore[arg-type]
            measured=f"{outside:.0%} of the steps are told a time that training never feeds at that masked fraction"
            + ("; time runs the other way" if backwards else ""),
            threshold="a tenth; half, or the other direction, to fail",
            why="Told that the page is nearly finished when it is blank, the model answers another question."
            if status != "pass"
            else "The sampler tells the time as training did.",
            next_step="Start at t = 1 (all masked) and end at 0, in training's own unit." if status != "pass" else "",
            numbers={"outside": outside, "slope_in_sampling": trend, "slope_in_training": train_trend},
            plot=Plot(
                "lines",
                grid,
                {"training": _curve(trained_f, trained_t, grid), "sampler": _curve(told_f, told_t, grid)},
                "masked fraction",
                "time fed",
                ("training",),
            ),
            share=max(outside, 0.9 * float(backwards)),
        )

    @staticmethod
    def _fraction(context: CheckContext, x_BL: Tensor) -> Tensor:
        return context.masked_share(x_BL)


def _slope(f: Tensor, t: Tensor) -> float:
    return float(((f - f.mean()) * (t - t.mean())).mean() / f.var(unbiased=False).clamp(min=1e-9))


def _curve(f: Tensor, t: Tensor, grid: list[float]) -> list[float | None]:
    bins = [t[(f - g).abs() <= 0.05] for g in grid]
    return [float(b.mean()) if len(b) else None for b in bins]
