from __future__ import annotations

from dataclasses import dataclass

from unmask.auditing.check import AuditCheck, Bench
from unmask.diagnosis.finding import Finding


@dataclass(frozen=True)
class Forwards(AuditCheck):
    """Are as many forwards made as were asked for?

    Rows through the network are counted, a text, and held against the steps that were asked for; guidance takes two
    rows a step. More than asked for fails; fewer is said, and warned about where places were left for a last step.
    """

    title = "Are as many forwards made as were asked for?"
    fault = "More forwards are made than were asked for."
    repair = "sampler.schedule"

    def run(self, context: Bench) -> Finding:  # type: ignore[override]
        if not context.sampled.takes_steps:
            return Finding("not_run", why="the sampler decides by itself in how many forwards it writes")
        rows, wrong = {}, []
        for steps in (1, 4, context.law.length):
            out = context.written(steps=steps)
            if out.forwards is None:
                return Finding("not_run", why="the sampler's forwards cannot be counted")
            made = out.forwards / len(out.ids_BL) / (1 if out.guidance == 1 else 2)
            rows[steps] = made
            if made > steps + 1e-6:
                wrong.append(steps)
        return Finding(
            "fail" if wrong else "pass",
            measured="; ".join(f"{steps} asked for, {made:.1f} made" for steps, made in rows.items()),
            threshold="no more than asked for",
            why="What is published as quality in so many steps was paid for with more."
            if wrong
            else "No text costs more than was asked for.",
            next_step="Count forwards where the network is called, blocks and clean-up steps included."
            if wrong
            else "",
            numbers={str(steps): made for steps, made in rows.items()},
            share=0.4 if wrong else 0.0,
            own=bool(wrong),
        )
