from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext, read
from unmask.diagnosis.finding import Finding, Plot
from unmask.diagnosis.statistics import mean_by_text
from unmask.diagnosis.subject import NotProvided, State

GAMMAS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class GuidanceCheck(Check):
    """Is the null condition trained, and does guidance help?

    At r = 1, where guidance matters most, the true text is scored under gamma l_c + (1 - gamma) l_u for several gammas.
    gamma = 0 is the null condition alone: trained, it must not be surely worse than counting words (4 standard errors,
    more for few texts; a failure if also by more than 5 % of the words' entropy). The sampler's own gamma must not make
    the most probable id right surely less often than no guidance, nor the true token surely less probable than a
    uniform guess (log V).
    """

    title = "Is the null condition trained, and does guidance help?"
    fault = "Guidance is steered by a null condition that was not trained, or hurts."
    reference = "arXiv 2412.10193"
    kinds = ("masked",)
    apart = "what a causal model is given stands before its tokens and has no null to be guided away from"
    repair = "sampler.guidance"
    leads_to = ("safe_words", "length", "frontier")

    def run(self, context: CheckContext) -> Finding:
        cond = context.batch.cond
        if not context.subject.conditional or cond is None:
            return Finding("not_run", why="the model takes no semantic vector, so there is no null condition")
        own = 1.0
        if context.subject.provides("generate"):
            try:
                own = context.samples().guidance
            except NotProvided:
                pass
        gammas = tuple(sorted({*GAMMAS, own}))
        state = context.state(1.0)
        target_BL, at_BL = context.batch.ids_BL, state.at_BL
        ce: dict[float, list[Tensor]] = {g: [] for g in gammas}
        hit: dict[float, list[Tensor]] = {g: [] for g in gammas}
        null = State(state.x_BL, at_BL, cond.nulled())
        for (first, last, c_NV), (_, _, u_NV) in zip(context.answers(state), context.answers(null), strict=True):
            c_NV, u_NV = c_NV.float().log_softmax(-1), u_NV.float().log_softmax(-1)
            both = torch.isfinite(c_NV) & torch.isfinite(u_NV)
            for gamma in gammas:
                mixed_NV = torch.where(both, torch.lerp(u_NV, c_NV, gamma), c_NV)
                ce_N, _, hit_N = read(mixed_NV, target_BL[first:last][at_BL[first:last]])
                ce[gamma].append(ce_N)
                hit[gamma].append(hit_N.double())
        row_N = at_BL.nonzero()[:, 0].cpu()
        nats = {g: mean_by_text(torch.cat(v), row_N) for g, v in ce.items()}
        right = {g: mean_by_text(torch.cat(v), row_N) for g, v in hit.items()}
        unigram_N = context.counts.unigram_ce(target_BL[at_BL].cpu())
        excess = mean_by_text(torch.cat(ce[0.0]) - unigram_N, row_N)
        untrained = excess.surely_above > 0 and excess.value > 0.05 * context.counts.entropy
        drop = mean_by_text(torch.cat(hit[1.0]) - torch.cat(hit[own]), row_N)
        absurd = nats[own].surely_above > math.log(context.subject.vocab_size)
        hurts = own != 1.0 and (drop.surely_above > 0 or absurd)
        status = "fail" if untrained or hurts else "warn" if excess.surely_above > 0 else "pass"
        best = max(right, key=lambda g: right[g].value)
        why = "The null condition knows what counting words knows, and guidance is measured against it."
        if status != "pass":
            why = (
                "Guidance pushes away from the null condition's answer; if that answer is noise, so is the push."
                if not hurts
                else f"At gamma = {own:g} the right word is less often the most probable one, or less probable than by "
                "chance."
            )
        return Finding(
            status,  # type: ignore[arg-type]
            measured=f"the null condition costs {nats[0.0].value:.2f} nats a token, counting words "
            f"{float(unigram_N.mean()):.2f}; the most probable id is right in {right[1.0].value:.1%} without guidance, "
            f"{right[best].value:.1%} at best (gamma {best:g})"
            + (f", {right[own].value:.1%} at the sampler's {own:g}" if own != 1 else ""),
            threshold="null not surely worse than counting words; the sampler's gamma not surely worse than 1, nor "
            f"than a uniform guess ({math.log(context.subject.vocab_size):.2f} nats)",
            why=why,
            next_step="Drop the condition in 10 to 15 % of the training rows, and use the same null in the sampler."
            if status != "pass"
            else "",
            numbers={
                "gammas": list(gammas),
                "nats": [nats[g].value for g in gammas],
                "accuracy": [right[g].value for g in gammas],
                "own_gamma": own,
                "null_over_unigram_nats": excess.value,
            },
            plot=Plot(
                "lines",
                list(gammas),
                {"most probable id is right": [right[g].value for g in gammas]},
                "gamma",
                "share of tokens",
            ),
            share=(excess.value / context.counts.entropy if untrained else 0.0) + 0.3 * (untrained or hurts),
        )
