from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding, Plot


@dataclass(frozen=True)
class Factorisation(Check):
    """Are too many tokens written at once, blind to each other?

    k tokens drawn in one step are drawn independently. In a random order the nats a text then costs are a staircase
    under the curve of the loss over the masked fraction: each token pays the loss of the fraction at its step's start.
    With one token a step that is the model's bound; with all tokens in one step it is the loss at r = 1. The sampler's
    own steps give its own staircase, and its excess over one token a step is put beside the largest possible one. It
    fails above a half of that, warns above a fifth. (Orders that prefer sure tokens lose less; this is the loss of
    the number of steps alone.)
    """

    title = "Are too many tokens written in one step?"
    fault = "Too many tokens are written in one step."
    needs = ("data", "predict", "generate")
    kinds = ("masked",)
    repair = "sampler.schedule"
    leads_to = ("safe_words", "length", "frontier", "order")

    def run(self, lab: CheckContext) -> Finding:
        steps = lab.samples().steps
        if not steps:
            return Finding("not_run", why="generate does not tell its steps", next_step="Return steps from generate.")
        ratios = torch.tensor(sorted(lab.budget.ratios), dtype=torch.float64)
        loss = torch.tensor([float(lab.at_ratio(float(r)).ce_N.mean()) for r in ratios], dtype=torch.float64)
        L = max(1, round(float(lab.exists(lab.samples().ids_BL).sum(1).double().mean())))
        own, most = 0.0, 0
        for step in steps:
            fraction_B = lab.masked_share(step.x_BL)
            count_B = step.drawn_BL.sum(1).double().cpu()
            own += float((count_B * _at(fraction_B, ratios, loss)).mean()) / L
            most = max(most, int(count_B.max()))
        curve = {k: _staircase(k, L, ratios, loss) for k in _powers(L)}
        one, everything = curve[1], curve[max(curve)]
        written = sum(float(s.drawn_BL.sum(1).double().mean()) for s in steps)
        busy = sum(float(s.drawn_BL.any(1).double().mean()) for s in steps)
        per_step = written / max(busy, 1e-9)
        own = own * L / max(written, 1e-9)
        worth = everything - one
        share = (own - one) / worth if worth > 0.05 * everything else 0.0
        status = "fail" if share > 0.5 else "warn" if share > 0.2 else "pass"
        return Finding(
            status,  # type: ignore[arg-type]
            measured=f"{per_step:.1f} tokens a step cost {own - one:+.3f} nats a token over one at a time, "
            f"{share:.0%} of "
            "all that context can give",
            threshold="a fifth; half to fail",
            why="Tokens drawn together cannot agree with each other, so phrases are mixed from several texts."
            if status != "pass"
            else "Few enough tokens are written together.",
            next_step="Take more steps, or an order that writes only sure tokens together." if status != "pass" else "",
            numbers={
                "tokens_per_step": per_step,
                "most_in_one_step": most,
                "own_nats": own,
                "one_at_a_time_nats": one,
                "all_at_once_nats": everything,
                "share_of_context_lost": share,
            },
            plot=Plot(
                "lines",
                [float(k) for k in curve],
                {"random order": list(curve.values()), "this sampler": [own] * len(curve)},
                "tokens a step",
                "nats a token",
                ("this sampler",),
            ),
            share=share if status != "pass" else 0.0,
        )


def _powers(L: int) -> list[int]:
    return [k for k in (2**i for i in range(12)) if k < L] + [L]


def _at(fraction: torch.Tensor, ratios: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
    """The loss at masked fractions, interpolated."""
    place = torch.searchsorted(ratios, fraction).clamp(1, len(ratios) - 1)
    left, right = ratios[place - 1], ratios[place]
    weight = ((fraction - left) / (right - left)).clamp(0, 1)
    return torch.lerp(loss[place - 1], loss[place], weight)


def _staircase(k: int, L: int, ratios: torch.Tensor, loss: torch.Tensor) -> float:
    """Nats a token when k tokens are written at a time."""
    before = torch.arange(L, 0, -k, dtype=torch.float64)
    count = before.clamp(max=k)
    return float((count * _at(before / L, ratios, loss)).sum() / L)
