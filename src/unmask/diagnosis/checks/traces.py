from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding


@dataclass(frozen=True)
class Traces(Check):
    """Is every place written, and nothing that is visible written over?

    Closed forms over the sampler's own steps, none of them allowed: a place that is masked in the finished text, a
    value drawn where a token was visible, a place that was visible at the start and is another token at the end, and a
    place that changes in a step which does not say so. A written place may be masked again and written a second time;
    where that is no part of the sampler (``Generated.remasks`` is False) it fails, where nothing is said of it, it
    warns.
    """

    title = "Is every place written, and nothing visible written over?"
    fault = "Places are left masked or written over."
    needs = ("data", "generate")
    kinds = ("masked",)
    apart = "a causal model writes each place once, from left to right"
    repair = "sampler.places"
    leads_to = ("safe_words", "length", "frontier", "memorisation")

    def run(self, context: CheckContext) -> Finding:
        out, mask_id = context.samples(), context.mask_id
        places = float(context.exists(out.ids_BL).sum())
        left = int((out.ids_BL == mask_id).sum())
        over = changed = silent = again = 0
        steps = out.steps or ()
        written_BL = torch.zeros_like(out.ids_BL, dtype=torch.bool)
        for i, step in enumerate(steps):
            after_BL = steps[i + 1].x_BL if i + 1 < len(steps) else out.ids_BL
            visible_BL = step.x_BL != mask_id
            over += int((step.drawn_BL & visible_BL).sum())
            moved_BL = (after_BL != step.x_BL) & ~step.drawn_BL & (after_BL != mask_id)
            silent += int(moved_BL.sum())
            again += int((step.drawn_BL & written_BL & ~visible_BL).sum())
            written_BL |= step.drawn_BL
        if steps:
            given_BL = steps[0].x_BL != mask_id
            changed = int((given_BL & (out.ids_BL != steps[0].x_BL)).sum())
        said = {
            f"{left / places:.1%} of the places are left masked": left,
            f"{over} visible tokens are written over": over,
            f"{changed} tokens that were given are changed": changed,
            f"{silent} tokens change in a step that does not draw them": silent,
        }
        if again and out.remasks is False:
            said[f"{again} places are written a second time"] = again
        wrong = [words for words, count in said.items() if count]
        unsaid = bool(again) and out.remasks is None
        status = "fail" if wrong else "warn" if unsaid else "pass"
        words = "; ".join(wrong) or f"{len(steps)} steps, every place written, nothing visible written over"
        if unsaid:
            words += f"; {again} places are masked again and written a second time"
        return Finding(
            status,  # type: ignore[arg-type]
            fault=f"{wrong[0][0].upper()}{wrong[0][1:]}." if wrong else "",
            measured=words,
            threshold="none left, none written over",
            why="What stands on the canvas is not what was drawn there from what was visible."
            if status != "pass"
            else "Each place holds what was drawn for it.",
            next_step="Look at where blocks and steps begin and end; say remasks=True in Generated if places are to be "
            "masked again."
            if status != "pass"
            else "",
            numbers={
                "left_masked": left,
                "written_over": over,
                "given_changed": changed,
                "changed_unsaid": silent,
                "written_again": again,
                "places": places,
            },
            share=0.5 + 0.5 * min(1.0, (left + over + changed + silent + again) / places) if wrong else 0.0,
            # a mask that is left may be a mask that was drawn; all else is the sampler's own
            own=bool(over or changed or silent or again) and bool(wrong),
        )
