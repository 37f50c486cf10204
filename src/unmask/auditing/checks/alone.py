from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from unmask.auditing.check import AuditCheck, Bench
from unmask.diagnosis.finding import Finding

_ROWS = 8


@dataclass(frozen=True)
class Alone(AuditCheck):
    """Is a row written alike alone and in a batch?

    Eight rows, of which more and more is given, are written at temperature 0 in a quarter of the steps, together and
    one by one. The denoiser answers each row by itself, exactly, so any difference is the sampler's: a quota over the
    whole batch, a threshold of the batch's mean. A sampler whose texts change with the seed even so (its order is
    drawn), and that does not name its noise by row, is not asked.
    """

    title = "Is a row written alike, alone and in a batch?"
    fault = "A row's text depends on the rows beside it."
    repair = "sampler.places"

    def run(self, context: Bench) -> Finding:  # type: ignore[override]
        if not context.sampled.fills:
            return Finding("not_run", why="the sampler takes no canvas that holds tokens already")
        law = context.law
        texts_BL = context.subject.data(_ROWS).ids_BL
        draw = torch.Generator().manual_seed(context.seed)
        given_BL = torch.rand(texts_BL.shape, generator=draw) < torch.linspace(0.0, 0.7, _ROWS)[:, None]
        if context.sampled.prefix_only:
            given_BL = (torch.arange(law.length) < law.length // 3).expand_as(texts_BL)
        x_BL = torch.where(given_BL, texts_BL, law.mask_id)
        write = partial(context.sampled.fill, temperature=0.0, steps=max(2, law.length // 4))
        together_BL = write(x_BL, context.seed)
        if not context.sampled.names_rows and not torch.equal(together_BL, write(x_BL, context.seed + 1)):
            return Finding(
                "not_run", why="the texts change with the seed at temperature 0, and no row has its own noise"
            )
        alone = [write(x_BL[i : i + 1], context.seed, first_row=i) for i in range(_ROWS)]
        differ = int((together_BL != torch.cat(alone)).any(1).sum())
        return Finding(
            "fail" if differ else "pass",
            measured=f"{differ} of {_ROWS} rows come out otherwise alone, at temperature 0",
            threshold="none",
            why="An answer that depends on who else is asked cannot be reproduced."
            if differ
            else "Rows are written by themselves.",
            next_step="Count positions and thresholds by row." if differ else "",
            numbers={"differ": differ, "rows": _ROWS},
            share=0.5 if differ else 0.0,
            own=bool(differ),
        )
