from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.checks.target_alignment import EVERYTHING
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding, Plot

#: tokens of text that must stand at a place before its being unscored means anything
ENOUGH = 20


@dataclass(frozen=True)
class TrainedWhereSampled(Check):
    """Does the loss reach every place that inference draws from?

    Places are columns, or the roles that the subject gives them (the first character of a block, say). Training's
    scored places are counted over several seeds; the sampler's drawn places come from its steps. A place that is drawn
    from and was never scored holds an untrained answer: the threshold is zero such draws. With N scored rows a place
    that training reaches with chance p is missed by all with probability (1 - p)^N; places where the views hold fewer
    than 20 tokens of text are left out (p = 0.5: below 1e-6), but not those that training does not have at all.
    """

    title = "Is there a place that is sampled but was never trained?"
    fault = "The sampler draws from places that the loss never reached."
    needs = ("data", "training_view", "generate")
    repair = "training.ratios"
    leads_to = EVERYTHING

    def run(self, context: CheckContext) -> Finding:
        out = context.samples()
        if not out.steps:
            return Finding("not_run", why="generate does not tell its steps", next_step="Return steps from generate.")
        batch = context.batch
        views = [context.view(seed) for seed in range(context.budget.repeats)]
        column_BL = torch.arange(batch.ids_BL.shape[1]).expand_as(batch.ids_BL)
        inside_BL = context.in_text(batch.ids_BL).cpu()
        trained = torch.cat([_roles(v.role_BL, column_BL)[v.scored_BL.cpu()] for v in views])
        there = torch.cat([_roles(v.role_BL, column_BL).flatten() for v in views])
        met = torch.cat([_roles(v.role_BL, column_BL)[inside_BL] for v in views])
        column_BL = torch.arange(out.ids_BL.shape[1]).expand_as(out.ids_BL)
        # step by step: a place that is drawn from twice counts twice
        role_BL = _roles(out.role_BL, column_BL)
        drawn = torch.cat([role_BL[step.drawn_BL.cpu()] for step in out.steps])
        # a place that few texts reach may go unscored by chance; one that training does not have at all cannot
        often, count = met.unique(return_counts=True)
        judged = ~torch.isin(drawn, there) | torch.isin(drawn, often[count >= ENOUGH])
        untrained_N = ~torch.isin(drawn, trained) & judged
        share = float(untrained_N.double().mean()) if len(drawn) else 0.0
        places = drawn[untrained_N].unique().tolist()
        top = int(max(trained.max(), drawn.max())) + 1 if len(drawn) else int(trained.max()) + 1
        wrong = share > 0
        return Finding(
            "fail" if wrong else "pass",
            measured=f"{share:.1%} of the tokens drawn stand where training scored nothing"
            + (f" (places {', '.join(map(str, places[:8]))}{' ...' if len(places) > 8 else ''})" if wrong else ""),
            threshold="none",
            why="An answer that was never trained is whatever the initialisation left there, often a uniform draw."
            if wrong
            else "Every place that is drawn from was reached by the loss.",
            next_step="Score these places in training: a causal model's first target sits at the last input position."
            if wrong
            else "",
            numbers={"untrained_share": share, "untrained_places": places, "training_rows": len(batch) * len(views)},
            plot=Plot(
                "lines",
                [float(i) for i in range(top)],
                {
                    "scored in training": _share(trained, top),
                    "drawn in inference": _share(drawn, top),
                },
                "place",
                "share of tokens",
            ),
            share=0.5 + 0.5 * share if wrong else 0.0,
        )


def _roles(role_BL: torch.Tensor | None, column_BL: torch.Tensor) -> torch.Tensor:
    return column_BL if role_BL is None else role_BL.cpu()


def _share(places: torch.Tensor, top: int) -> list[float | None]:
    count = torch.bincount(places, minlength=top).double()
    return [float(v) for v in count / count.sum().clamp(min=1)]
