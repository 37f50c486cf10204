from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import TRIED_ROWS, CheckContext
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.subject import Batch

#: copies of one row that are written side by side
COPIES = 8


@dataclass(frozen=True)
class Seeds(Check):
    """Does another seed write another text, and does each row of a batch draw its own noise?

    The first rows are written under two seeds: where values are drawn, not all of them may come out the same
    (closed form where the model leaves anything to draw). Then one row is written eight times side by side. If every
    text changes with the seed, yet the copies are all alike, they share their noise: texts that differ between seeds
    with a chance of a half would be alike in all eight copies by chance in fewer than 1 of 100 cases, texts of more
    than 3 nats in fewer than 1 of a billion. A sampler at temperature 0 draws nothing and is not asked.
    """

    title = "Do seeds matter, and does each row draw its own noise?"
    fault = "Noise does not depend on the seed, or is shared between rows."
    needs = ("data", "generate")
    repair = "sampler.noise"
    leads_to = ("safe_words", "frontier", "memorisation")

    def run(self, context: CheckContext) -> Finding:
        out, rows = context.samples(), context.prompts.rows(0, TRIED_ROWS)
        if out.temperature == 0 or out.top_k == 1:
            return Finding("not_run", why="at temperature 0 nothing is drawn, so a seed need not matter")
        # the same rows under both: noise may hang on how many are written together
        ids_BL, other_BL = (context.subject.generate(rows, context.seed + i).ids_BL for i in (0, 1))
        differs_B = _differ(ids_BL, other_BL)
        differ = float(differs_B.double().mean())
        alike = 0.0
        if bool(differs_B.all()):
            cond = None if rows.cond is None else rows.cond[:1].repeat(COPIES)
            valid_BL = None if rows.valid_BL is None else rows.valid_BL[:1].repeat(COPIES, 1)
            copies = Batch(rows.ids_BL[:1].repeat(COPIES, 1), cond, valid_BL=valid_BL)
            same_BL = context.subject.generate(copies, context.seed).ids_BL
            alike = float((~_differ(same_BL[:1].expand_as(same_BL), same_BL))[1:].double().mean())
        deaf, shared = differ == 0.0, alike == 1.0
        fault = ""
        if deaf:
            fault = "Another seed writes the very same texts."
        elif shared:
            fault = "Rows of one batch draw the same noise."
        return Finding(
            "fail" if deaf or shared else "pass",
            fault=fault,
            measured=f"{differ:.0%} of the texts change with the seed; {alike:.0%} of the copies of a row side by side "
            "are the same text",
            threshold="some change, and not all copies are alike",
            why="Texts that share their noise are not independent draws, so averages over them mean less than they "
            "seem to."
            if fault
            else "Every seed and every row has noise of its own.",
            next_step="Draw noise from a generator made of the seed, one number for each row and position."
            if fault
            else "",
            numbers={"differ_between_seeds": differ, "alike_in_a_batch": alike, "texts": len(rows), "copies": COPIES},
            share=0.7 if fault else 0.0,
            own=bool(fault),
        )


def _differ(one_BL: torch.Tensor, other_BL: torch.Tensor) -> torch.Tensor:
    """Which rows differ [B]; texts of other lengths do."""
    if one_BL.shape != other_BL.shape:
        return torch.ones(len(one_BL), dtype=torch.bool)
    return (one_BL != other_BL).any(1).cpu()
