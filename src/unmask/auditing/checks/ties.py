from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.auditing.check import AuditCheck, Bench
from unmask.auditing.checks.one_at_a_time import SURE
from unmask.auditing.laws.chain import Chain
from unmask.diagnosis.finding import Finding

#: rows that are written where everything ties
_ROWS = 64


@dataclass(frozen=True)
class Ties(AuditCheck):
    """Where do ties fall?

    On a law that knows nothing every position and every value ties, so whatever comes first is the sampler's choice. A
    sampler that claims to choose by the model's answers and fills from left to right here has an order of its own: it
    shows wherever the model is unsure. The rank correlation of place and step has variance 1 / (L - 1) a row under a
    fair order (closed form).
    """

    title = "Where do ties between positions fall?"
    fault = "Ties between positions fall to one side."
    repair = "sampler.places"

    def run(self, context: Bench) -> Finding:  # type: ignore[override]
        law = Chain(vocab=8, length=context.law.length, sharp=0.0)
        subject = context.make(law)
        steps = {"steps": law.length} if subject.takes_steps else {}
        out = subject.generate(subject.data(_ROWS), context.seed, **steps)
        if not out.any_order:
            return Finding("not_run", why="the sampler does not claim to choose the order itself")
        if not out.steps:
            return Finding("not_run", why="the sampler does not tell its steps")
        when_BL = torch.zeros(out.ids_BL.shape, dtype=torch.float64)
        for number, step in enumerate(out.steps):
            when_BL[step.drawn_BL] = number
        place_L = torch.arange(law.length, dtype=torch.float64)
        rank_BL = when_BL.argsort(1).argsort(1).double()
        # steps that write several places: these share a rank
        for row, when in zip(rank_BL, when_BL, strict=True):
            for step in when.unique():
                row[when == step] = row[when == step].mean()
        centred_BL = rank_BL - rank_BL.mean(1, keepdim=True)
        scale_B = centred_BL.norm(dim=1) * (place_L - place_L.mean()).norm()
        kept = scale_B > 0
        if not bool(kept.any()):
            return Finding("not_run", why="everything is written at once, so there is no order")
        along_B = (centred_BL @ (place_L - place_L.mean()))[kept] / scale_B[kept]
        mean = float(along_B.mean())
        sigmas = mean * (len(along_B) * (law.length - 1)) ** 0.5
        # rows that all choose alike are one row
        alike = bool((when_BL == when_BL[:1]).all()) and len(when_BL) > 1
        wrong = abs(sigmas) > SURE and abs(mean) > 0.1
        side = "left to right" if mean > 0 else "right to left"
        return Finding(
            "warn" if wrong or alike else "pass",
            fault=f"Ties between positions fall {side}." if wrong else "All rows break ties alike." if alike else "",
            measured=f"rank correlation of place and step {mean:+.2f} ({sigmas:+.1f} standard deviations of a fair "
            f"order) over {_ROWS} rows" + ("; all rows choose the same order" if alike else ""),
            threshold=f"{SURE:g} standard deviations, and 0.1",
            why="Where the model is unsure the order is the sampler's, not the model's: a causal order in disguise."
            if wrong
            else "Rows that break ties alike share an order that no model asked for."
            if alike
            else "Ties are broken fairly.",
            next_step="Break ties at random, by noise of the row and the place." if wrong or alike else "",
            numbers={"correlation": mean, "sigmas": sigmas, "rows_alike": alike},
            share=abs(mean) * 0.3 if wrong else 0.0,
        )
