from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.finding import Finding, Plot
from unmask.diagnosis.lab import Lab, moved
from unmask.diagnosis.subject import State


@dataclass(frozen=True)
class Cache(Check):
    """Do cached answers equal uncached ones, with true positions and the cache that was asked for?

    The prefix is put into the cache, the true tokens follow one by one. Positions given to them must be their true
    ones, whatever the cache holds. An uncompressed cache must give the answers of a plain forward (what moves when the
    same is asked twice, times 4, and rounding; 1 % of the probability to fail). A compressed one must hold what was
    asked for: the kept share of the prefix and every token since, within one entry; holding ever less is a ratio
    applied again and again.
    """

    title = "Do the cache's answers, positions and size hold?"
    fault = "The cache answers otherwise than the model does."
    needs = ("data", "predict", "cached")
    leads_to = ("safe_words", "length", "frontier", "draw_calibration")

    def run(self, lab: Lab) -> Finding:
        ids_BL = lab.batch.ids_BL[:8]
        L = ids_BL.shape[1]
        start = max(L // 2, 1)
        run = lab.subject.cached(ids_BL, start)
        at_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
        at_BL[:, start:] = True
        plain_NV = lab.logits(State(ids_BL, at_BL))
        apart_N = moved(plain_NV, run.logits_NV)
        apart = float(apart_N.mean())
        floor = max(4 * lab.noise_floor(), lab.rounding())
        true_T = torch.arange(start, start + len(run.position_T))
        wrong_positions = float((run.position_T.cpu() != true_T).double().mean()) if len(true_T) else 0.0
        fed_T = torch.arange(1, len(run.kept_T) + 1)
        wanted_T = run.keep * start + fed_T
        short = float((wanted_T - run.kept_T.cpu().double()).max()) if len(fed_T) else 0.0
        faults = []
        if wrong_positions:
            faults.append("positions")
        if short > 1.5:
            faults.append("size")
        if run.keep >= 1 and apart > max(0.01, floor):
            faults.append("answers")
        status = "fail" if faults else "warn" if run.keep >= 1 and apart > floor else "pass"
        by_place = apart_N.view(len(ids_BL), L - start).mean(0)
        return Finding(
            status,  # type: ignore[arg-type]
            measured=f"{apart:.2%} of the probability moves; {wrong_positions:.0%} of the positions are wrong; "
            "the cache "
            f"is {max(short, 0):.1f} entries short of what was asked for",
            threshold=f"true positions; size within one entry; uncompressed answers within {floor:.2g} (1 % to fail)",
            why={
                "positions": (
                    "Keys were rotated by their true positions; a query at another one looks in the wrong places."
                ),
                "size": "A ratio applied at every step compounds, and the cache forgets far more than was asked.",
                "answers": "What is written through the cache is not what the model would write.",
            }.get(faults[0] if faults else "", "The cache changes nothing that it should not."),
            next_step="Count positions from the tokens fed, never from the cache's length; compress once, or to "
            "a fixed "
            "size."
            if status != "pass"
            else "",
            numbers={
                "moved": apart,
                "floor": floor,
                "wrong_positions": wrong_positions,
                "entries_short": short,
                "keep": run.keep,
            },
            plot=Plot(
                "lines",
                [float(i) for i in range(start, L)],
                {"probability that moves": [float(v) for v in by_place]},
                "position",
                "share",
            ),
            share=max(apart, 0.5) if faults else 0.0,
        )
