"""The sampler's own moments of writing, and what they cost: along the reference, in another order, under its own law.

A row's steps are visited evenly, at most a few of them, so that the cost does not grow with the number of steps.

Shapes: B rows, L length, P visits (a row at a step), N tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask.core.random import Stream, uniform
from unmask.core.sampling import restrict
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.estimate import Estimate, by_text
from unmask.diagnosis.subject import Generated, NotProvided, State

#: steps of a row that are visited at most
MOST = 6
#: what a value costs at most that the law gives no probability at all, nats
IMPOSSIBLE = 14.0


@dataclass(frozen=True)
class Visits:
    """Moments of writing.

    Attributes:
        row_P: which text.
        x_PL: the canvas before the step. drawn_PL: what the step wrote. after_PL: the canvas after it.
        t_P: the time that was passed; None for a model without one.
        start_BL: what was masked when writing began.
    """

    row_P: Tensor
    x_PL: Tensor
    drawn_PL: Tensor
    after_PL: Tensor
    t_P: Tensor | None
    start_BL: Tensor


def visits(context: CheckContext) -> Visits:
    """Some of the sampler's own moments; the same for every question.

    Raises:
        NotProvided: ``generate`` does not tell its steps.
    """
    return context.once("visits", lambda: _visits(context, context.samples()))  # type: ignore[no-any-return]


def _visits(context: CheckContext, out: Generated) -> Visits:
    steps = [s for s in out.steps or () if bool(s.drawn_BL.any())]
    if not steps:
        raise NotProvided("steps in what generate returns")
    drawn_SBL = torch.stack([s.drawn_BL for s in steps])
    busy_SB = drawn_SBL.any(2)
    stride = -(-int(busy_SB.sum(0).max()) // MOST)
    # every stride-th of a row's own steps, from another one in each row
    number_SB = busy_SB.int().cumsum(0) - 1
    first_B = torch.arange(busy_SB.shape[1], device=busy_SB.device)
    step_P, row_P = (busy_SB & ((number_SB + first_B) % stride == 0)).nonzero(as_tuple=True)
    x_SBL = torch.stack([s.x_BL for s in steps] + [out.ids_BL])
    known = all(s.t_B is not None for s in steps)
    t_P = torch.stack([s.t_B for s in steps if s.t_B is not None])[step_P.cpu(), row_P.cpu()] if known else None
    mask = context.subject.mask_id
    start_BL = drawn_SBL.any(0) if mask is None else steps[0].x_BL == mask
    drawn_PL = drawn_SBL[step_P, row_P]
    return Visits(row_P, x_SBL[step_P, row_P], drawn_PL, x_SBL[step_P + 1, row_P], t_P, start_BL)


def fits(context: CheckContext) -> str:
    """Why the sampler's steps cannot be laid over the reference; empty where they can."""
    if not context.subject.writes_padding:
        return "it draws its own length, so its steps do not lie over the reference's positions"
    if context.samples().ids_BL.shape != context.prompts.ids_BL.shape:
        return "it writes on another canvas than the reference's"
    return ""


def along(context: CheckContext, *, shuffled: bool = False, own_time: bool = False) -> Estimate:
    """Nats a token of the reference texts along the sampler's own steps: what was visible then is shown as it should
    be, and what was written then is asked for.

    Args:
        context: holds the samples.
        shuffled: as many positions in as many steps, but which ones is drawn at random.
        own_time: pass the time that the sampler passed, not the one that ``predict`` chooses.
    """
    timed = own_time and passes_time(context)
    return context.once(("along", shuffled, timed), lambda: _along(context, shuffled, timed))  # type: ignore[no-any-return]


def _along(context: CheckContext, shuffled: bool, own_time: bool) -> Estimate:
    seen, mask = visits(context), context.mask_id
    ids_PL = context.prompts.ids_BL[seen.row_P]
    masked_PL, drawn_PL = seen.x_PL == mask, seen.drawn_PL
    if shuffled:
        swap_PL = _swaps(seen.start_BL, context.seed)[seen.row_P]
        masked_PL, drawn_PL = masked_PL.gather(1, swap_PL), drawn_PL.gather(1, swap_PL)
    # a random choice among what is masked is known without drawing it: each pays its share
    share_P = drawn_PL.sum(1) / masked_PL.sum(1).clamp(min=1) if shuffled else torch.ones(len(ids_PL))
    asked_PL = masked_PL if shuffled else drawn_PL & masked_PL
    at_PL = context.some(asked_PL & context.in_text(ids_PL))
    cond = None if context.prompts.cond is None else context.prompts.cond[seen.row_P]
    state = State(ids_PL.masked_fill(masked_PL, mask), at_PL, cond, seen.t_P if own_time else None)
    found, texts = context.score(state, ids_PL), len(context.prompts)
    visit_N = found.row_N.cpu()
    weight_N, text_N = share_P.cpu().double()[visit_N], seen.row_P.cpu()[visit_N]
    return Estimate.ratio("held_out", by_text(found.ce_N * weight_N, text_N, texts), by_text(weight_N, text_N, texts))


def passes_time(context: CheckContext) -> bool:
    """Whether the sampler passes a time that is not simply the masked share."""
    seen = visits(context)
    if seen.t_P is None or bool(torch.isnan(seen.t_P).any()):
        return False
    return bool((seen.t_P.cpu().double() - context.masked_share(seen.x_PL)).abs().max() > 1e-3)


def _swaps(start_BL: Tensor, seed: int) -> Tensor:
    """For each row a random order [B, L] of the positions that were masked at first; the others stay."""
    B, L = start_BL.shape
    noise_BL = uniform(seed, torch.arange(B)[:, None], torch.arange(L), Stream.ORDER, 7).to(start_BL.device)
    here_BL = torch.where(start_BL, 0, 2) + torch.arange(L, device=start_BL.device) / L
    mixed_BL = torch.where(start_BL, noise_BL, here_BL)
    swap_BL = torch.empty_like(start_BL, dtype=torch.long)
    return swap_BL.scatter_(1, here_BL.argsort(1), mixed_BL.argsort(1))


def law(context: CheckContext) -> tuple[Estimate, Estimate]:
    """Two means over the sampler's own draws, nats a token of its text.

    Returns:
        the divergence of the law that is drawn from (guidance, temperature, top-k, top-p as the sampler tells them)
        from the model's own; and what was drawn under that law, minus its entropy: 0 where the draw is as told.
    """
    return context.once("law", lambda: _law(context))  # type: ignore[no-any-return]


def _law(context: CheckContext) -> tuple[Estimate, Estimate]:
    out, seen = context.samples(), visits(context)
    text_PL = context.in_text(out.ids_BL)[seen.row_P]
    at_PL = seen.drawn_PL & text_PL & (seen.after_PL != (-1 if context.subject.mask_id is None else context.mask_id))
    cond = None if context.prompts.cond is None else context.prompts.cond[seen.row_P]
    state = State(seen.x_PL, at_PL, cond, seen.t_P if passes_time(context) else None)
    guided = out.guidance != 1 and cond is not None
    without = context.answers(replace(state, cond=cond.nulled())) if guided and cond is not None else None
    apart, drawn = [], []
    for first, last, logits_NV in context.answers(state):
        model_NV = logits_NV.double().log_softmax(-1)
        asked_NV = model_NV
        if without is not None:
            null_NV = next(without)[2].double().log_softmax(-1)
            asked_NV = torch.where(torch.isfinite(model_NV), torch.lerp(null_NV, model_NV, out.guidance), model_NV)
        ids_N = seen.after_PL[first:last][at_PL[first:last]]
        kl_N, off_N = divergence(model_NV, asked_NV, ids_N, out)
        apart.append(kl_N.cpu())
        drawn.append(off_N.cpu())
    text_N = seen.row_P.cpu()[at_PL.nonzero()[:, 0].cpu()]
    texts = len(out.ids_BL)
    return (
        Estimate.of_tokens("held_out", torch.cat(apart), text_N, texts),
        Estimate.of_tokens("held_out", torch.cat(drawn), text_N, texts),
    )


def divergence(model_NV: Tensor, asked_NV: Tensor, ids_N: Tensor, out: Generated) -> tuple[Tensor, Tensor]:
    """KL of the law drawn from against the model's [N], and what was drawn beyond that law's entropy [N], nats.

    Args:
        model_NV: the model's log-probabilities.
        asked_NV: what temperature, top-k and top-p are applied to: after guidance.
        ids_N: what was drawn.
        out: says temperature, top-k and top-p.
    """
    if out.temperature == 0:
        best_N = asked_NV.argmax(-1, keepdim=True)
        short_N = (asked_NV.gather(-1, best_N) - asked_NV.gather(-1, ids_N[:, None]))[:, 0]
        return -model_NV.gather(-1, best_N)[:, 0], torch.where(short_N < 1e-3, 0.0, IMPOSSIBLE).double()
    kept_NV = restrict(asked_NV, temperature=out.temperature, top_k=out.top_k, top_p=out.top_p)
    law_NV = kept_NV.log_softmax(-1)
    p_NV = law_NV.exp()
    safe_NV = torch.where(p_NV > 0, law_NV, 0.0)
    entropy_N = -(p_NV * safe_NV).sum(-1)
    cross_N = -(p_NV * torch.where(p_NV > 0, model_NV, 0.0)).sum(-1)
    nats_N = -law_NV.gather(-1, ids_N[:, None])[:, 0]
    return cross_N - entropy_N, nats_N.clamp(max=IMPOSSIBLE) - entropy_N
