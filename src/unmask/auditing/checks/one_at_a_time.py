from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unmask.auditing.check import AuditCheck, Bench
from unmask.diagnosis.finding import Finding

#: standard deviations of exact draws: 7e-6 by chance (normal approximation)
SURE = 4.5


@dataclass(frozen=True)
class OneAtATime(AuditCheck):
    """Do texts follow the law where nothing is drawn side by side?

    With as many forwards as positions a perfect denoiser leaves no error: whatever the order is, as long as it depends
    on what is visible and not on the values that were drawn, the chain rule gives the law exactly. What is found here
    is the sampler's own doing. Texts are measured by their log p and by the marginals of neighbouring pairs, both in
    standard deviations of exact draws of equal size.
    """

    title = "Do texts follow the law, one position at a time?"
    fault = "Texts do not follow the law, even one position at a time."
    laws = ("chain", "hidden_chain", "joint")
    repair = "sampler.law"

    def run(self, context: Bench) -> Finding:  # type: ignore[override]
        settings: dict[str, Any] = {"steps": context.law.length} if context.sampled.takes_steps else {}
        out = context.written(**settings)
        if out.temperature != 1 or out.top_k is not None or out.top_p is not None:
            return Finding(
                "not_run",
                why="the law that is followed is that of temperature 1 without restrictions; this sampler draws from "
                "another one by request",
            )
        found = context.ruler(out.ids_BL)
        wrong = found.sigmas > SURE
        likely = "too likely" if found.log_p > 0 else "too unlikely"
        return Finding(
            "fail" if wrong else "pass",
            fault=f"Texts do not follow the law, one position at a time: they are {likely}."
            if wrong and abs(found.log_p) > SURE * found.log_p_error
            else "",
            measured=f"log p {found.log_p:+.4f} nats a token from the law's ({found.log_p / found.log_p_error:+.1f} "
            f"standard deviations of exact draws), pairs {found.pairs:+.4f} ({found.pairs / found.pairs_error:+.1f}); "
            f"{found.texts} texts",
            threshold=f"{SURE:g} standard deviations of exact draws",
            why="The denoiser is perfect and positions are written one by one, so this is the sampler's own doing."
            if wrong
            else "Texts of the sampler and of the law were not told apart.",
            next_step="Look for an order that depends on the values that were drawn, and at how values are drawn."
            if wrong
            else "",
            numbers={**vars(found), "forwards": out.forwards},
            share=min(1.0, 0.3 + abs(found.log_p) + max(0.0, found.pairs)) if wrong else 0.0,
        )
