"""Repair by replacement: put the ideal in for one ingredient of the writing, and see how much of the symptom goes.

Shapes: B texts, L columns, N rows of logits, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unmask.core.random import Stream, uniform
from unmask.core.sampling import categorical, restrict
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.statistics import Mean, plain_mean
from unmask.diagnosis.subject import NotProvided, State
from unmask.diagnosis.symptom import Symptom, symptoms
from unmask.diagnosis.validated_subject import SubjectFault

#: temperatures that are put in
TEMPERATURES = (0.7, 1.0)
#: a symptom smaller than this is none
NONE = 0.02


@dataclass(frozen=True)
class Replacement:
    """What one ideal ingredient does to one symptom.

    Attributes:
        ingredient: what was replaced, and by what.
        symptom: what is measured; less is better.
        before, after: with the plan's own ingredient, and with the ideal one.
        change: the second minus the first, text by text.
        gone: which share of the symptom (its distance from held-out text, or from what was asked) goes.
    """

    ingredient: str
    symptom: str
    before: Mean
    after: Mean
    change: Mean
    gone: Mean


def replacements(context: CheckContext) -> tuple[Replacement, ...]:
    """Every replacement that this subject allows, on every symptom that it has."""
    found: list[Replacement] = []
    try:
        own = symptoms(context, context.samples().ids_BL)
        for words, write in _plans(context):
            found += _compared(words, own, _tried(context, write))
        if context.subject.kind == "masked" and context.subject.provides("predict"):
            plain = symptoms(context, _written(context))
            for words, ids_BL in _ideals(context):
                found += _compared(words, plain, symptoms(context, ids_BL))
    except (NotProvided, SubjectFault):
        pass
    return tuple(found)


def _tried(context: CheckContext, write: Callable[[], Tensor]) -> list[Symptom]:
    try:
        return symptoms(context, write())
    except SubjectFault:
        # a setting that this plan does not go with
        return []


def _compared(words: str, before: list[Symptom], after: list[Symptom]) -> list[Replacement]:
    found = []
    for one, other in zip(before, after, strict=False):
        size = one.mean.value - one.ideal
        if size < NONE:
            continue
        change = plain_mean(other.value_T - one.value_T)
        gone = Mean(-change.value / size, change.error / size, change.texts)
        found.append(Replacement(words, one.name, one.mean, other.mean, change, gone))
    return found


def _plans(context: CheckContext) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Other settings of the subject's own sampler."""
    s, out, batch = context.subject, context.samples(), context.prompts

    def under(**settings: Any) -> Callable[[], Tensor]:
        return lambda: s.generate(batch, context.seed, **settings).ids_BL

    if "steps" in s.settings:
        yield "one token a step", under(steps=batch.ids_BL.shape[1])
    if "temperature" in s.settings:
        for temperature in TEMPERATURES:
            if temperature != out.temperature:
                yield f"temperature {temperature:g}", under(temperature=temperature)
    for order in s.settings.get("order", ()):
        yield f"order {order}", under(order=order)
    if "guidance" in s.settings and out.guidance != 1:
        yield "no guidance", under(guidance=1.0)
    if batch.cond is not None and s.conditional and s.kind == "masked":
        none = replace(batch, cond=batch.cond.nulled())
        yield "no vector", lambda: s.generate(none, context.seed).ids_BL


def _ideals(context: CheckContext) -> Iterator[tuple[str, Tensor]]:
    """What no sampler can know, put into a plain one in random order (compared with that one)."""
    ids_BL, place_L = (
        context.prompts.ids_BL,
        torch.arange(context.prompts.ids_BL.shape[1], device=context.prompts.ids_BL.device),
    )
    text_BL = context.in_text(ids_BL) & (ids_BL != (-1 if context.subject.eos_id is None else context.subject.eos_id))
    if not bool(text_BL.all()):
        yield "the true length", _written(context, ~text_BL)
    half_B = text_BL.sum(1) // 2
    yield "the true first half", _written(context, text_BL & (place_L < half_B[:, None]))
    yield "the order of an oracle", _written(context, oracle=True)


def _written(context: CheckContext, given_BL: Tensor | None = None, oracle: bool = False) -> Tensor:
    """Texts of a plain sampler through ``predict``, at the plan's temperature and in about as many steps.

    Args:
        context: holds the rows to write for.
        given_BL: positions that show what they should from the start.
        oracle: first the positions whose true token is furthest above the best other one; else in random order.
    """
    batch, out = context.prompts, context.samples()
    x_BL = context.blank(batch.ids_BL)
    if given_BL is not None:
        x_BL = torch.where(given_BL, batch.ids_BL, x_BL)
    B, L = x_BL.shape
    noise_BL = uniform(context.seed, torch.arange(B)[:, None], torch.arange(L), Stream.ORDER, 11).to(x_BL.device)
    steps = min(L, max(1, sum(bool(s.drawn_BL.any()) for s in out.steps or ())) if out.steps else L)
    for step in range(steps):
        masked_BL = x_BL == context.mask_id
        count_B1 = -(-masked_BL.sum(1, keepdim=True) // (steps - step))
        rank_BL = noise_BL.masked_fill(~masked_BL, 2.0)
        # an oracle looks at every masked position before it chooses
        at_BL = masked_BL if oracle else _first(rank_BL, masked_BL, count_B1)
        drawn, ahead = [], []
        for first, last, logits_NV in context.answers(State(x_BL, at_BL, batch.cond)):
            row_N, col_N = at_BL[first:last].nonzero(as_tuple=True)
            noise_N = uniform(context.seed, row_N + first, col_N, Stream.VALUE)
            drawn.append(_drawn(logits_NV, out.temperature, noise_N))
            ahead.append(_ahead(logits_NV, batch.ids_BL[first:last][at_BL[first:last]]))
        if not drawn:
            break
        if oracle:
            rank_BL = rank_BL.masked_scatter(at_BL, -torch.cat(ahead).to(rank_BL))
        now_BL = _first(rank_BL, masked_BL, count_B1)
        x_BL = torch.where(now_BL, x_BL.masked_scatter(at_BL, torch.cat(drawn)), x_BL)
    return x_BL


def _first(rank_BL: Tensor, masked_BL: Tensor, count_B1: Tensor) -> Tensor:
    return masked_BL & (rank_BL.argsort(1).argsort(1) < count_B1)


def _drawn(logits_NV: Tensor, temperature: float, noise_N: Tensor) -> Tensor:
    if temperature == 0:
        return logits_NV.argmax(-1)
    return categorical(restrict(logits_NV, temperature=temperature), noise_N)


def _ahead(logits_NV: Tensor, true_N: Tensor) -> Tensor:
    """p(true) - p(best other) [N]."""
    p_NV = logits_NV.double().softmax(-1)
    true_N1 = true_N[:, None]
    return (p_NV.gather(-1, true_N1) - p_NV.scatter(-1, true_N1, -1.0).max(-1, keepdim=True).values)[:, 0]
