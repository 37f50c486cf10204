from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from unmask.auditing.check import TEXTS, AuditCheck, Bench
from unmask.auditing.checks.one_at_a_time import SURE
from unmask.auditing.distance import Ruler, even_random, write_fixed
from unmask.diagnosis.finding import Finding, Plot

#: resamples of the texts for a standard error
_RESAMPLES = 24
#: worse than the plainest schedule by less than this share of its distance is no finding
_SMALL = 0.1


@dataclass(frozen=True)
class BudgetPrice(AuditCheck):
    """What do few forwards cost, and how much of that is the sampler's own doing?

    Texts are written in 1, 2, 3, ... forwards and measured against the law. Beside them: the best schedule fixed
    beforehand (its divergence from the law is known exactly, and is what the budget costs at least), and the plainest
    one (as many positions at each forward, in random order). A sampler that looks at the model's answers before it
    chooses should not be farther from the law than the plainest one that never looks: it fails where it is, by 4.5
    standard errors and by a tenth.
    """

    title = "What do few forwards cost, beside the best fixed schedule?"
    fault = "Few forwards cost more than a random order would."
    repair = "sampler.schedule"

    def run(self, context: Bench) -> Finding:  # type: ignore[override]
        if not context.sampled.takes_steps:
            return Finding("not_run", why="the sampler decides by itself in how many forwards it writes")
        law, ruler, prices = context.law, context.ruler, context.prices
        budgets = [t for t in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32) if t <= law.length]
        rows, worse = [], []
        for steps in budgets:
            out = context.written(steps=steps)
            if out.temperature != 1:
                return Finding("not_run", why="the law that is followed is that of temperature 1")
            price, schedule = prices.schedule(steps)
            best = write_fixed(law, TEXTS, schedule, context.seed)
            plain = write_fixed(law, TEXTS, even_random(law.length, steps, context.seed), context.seed)
            own, own_error = _pairs(ruler, out.ids_BL)
            beside, beside_error = _pairs(ruler, plain)
            rows.append(
                {
                    "forwards": steps,
                    "price_nats": price,
                    "own": own,
                    "best_fixed": _pairs(ruler, best)[0],
                    "plainest": beside,
                    "log_p": ruler(out.ids_BL).log_p,
                }
            )
            error = (own_error**2 + beside_error**2) ** 0.5
            if own - beside > max(SURE * error, _SMALL * abs(beside)):
                worse.append(steps)
        head = rows[min(2, len(rows) - 1)]
        return Finding(
            "fail" if worse else "pass",
            fault=f"In {', '.join(map(str, worse))} forwards texts lie farther from the law than in random order."
            if worse
            else "",
            measured="; ".join(
                f"{row['forwards']}: {row['own']:.3f} (best fixed {row['best_fixed']:.3f}, plainest "
                f"{row['plainest']:.3f}; price {row['price_nats'] / law.length:.3f} nats a token)"
                for row in rows
            ),
            threshold=f"{SURE:g} standard errors and {_SMALL:.0%} beyond the plainest schedule; distances are "
            "chi-squared divergences of pairs of neighbours",
            why="Positions that depend on each other are written side by side."
            if worse
            else f"A perfect denoiser loses {head['price_nats'] / law.length:.3f} nats a token at least in "
            f"{head['forwards']} forwards.",
            next_step="Write positions that lie far apart side by side, or fewer at a time." if worse else "",
            numbers={"budgets": rows},
            plot=Plot(
                "lines",
                [float(row["forwards"]) for row in rows],
                {name: [row[name] for row in rows] for name in ("own", "best_fixed", "plainest")},
                "forwards",
                "divergence of pairs from the law",
                dashed=("best_fixed", "plainest"),
            ),
            share=max((row["own"] - row["plainest"]) / (1 + row["own"]) for row in rows) if worse else 0.0,
        )


def _pairs(ruler: Ruler, ids_BL: Tensor) -> tuple[float, float]:
    """The distance in pairs, and its standard error by resampling texts."""
    draw = np.random.default_rng(0)
    again = [ruler(ids_BL[draw.integers(0, len(ids_BL), len(ids_BL))]).pairs for _ in range(_RESAMPLES)]
    return ruler(ids_BL).pairs, float(np.std(again, ddof=1))
