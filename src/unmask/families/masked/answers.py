"""Filling in and scoring given texts with a masked model.

Shapes: 1 row, L length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from unmask.core.errors import UsageError
from unmask.core.model import ContinuationScore
from unmask.core.precision import fastest
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate
from unmask.evaluation.likelihood import bound, scoring
from unmask.models.mask_words import literal_ids
from unmask.models.text_model import TextModel

#: masked counts drawn a text, spread evenly over 1..L (the estimator of arXiv 2502.09992)
SAMPLES = 128
#: positions of a canvas where neither the model nor its card limits them
WIDEST = 4096


def filled(
    model: TextModel, before: Any, after: str, length: int, plan: DecodingPlan, row: int, cut: bool, precision: str
) -> str | None:
    """See :meth:`unmask.core.model.Model.fill`; one text."""
    opening, closing = model.frame
    if isinstance(before, str):
        words = _ids(model, before)
    else:
        opening, words = [], literal_ids(model.tokenizer, model.prompt_ids(before), model.denoiser.mask_id)
    behind = [*_ids(model, after), *closing]
    limit = _positions(model)
    if limit is not None and cut:
        room = limit - len(opening) - len(behind)
        length = min(length, max(1, room // 2))
        words = words[max(0, len(words) - max(0, room - length)) :]
    ahead = [*opening, *words]
    ids = [*ahead, *[model.denoiser.mask_id] * length, *behind]
    if limit is not None and len(ids) > limit:
        return None
    chosen = fastest(model.denoiser, len(ids), model.device, "fp32" if precision == "auto" else precision)
    with scoring(model.denoiser), chosen.autocast(model.device):
        found = generate(
            model.denoiser,
            torch.tensor([ids], device=model.device),
            replace(plan, steps=plan.steps or (length if plan.counts_steps else None)),
            row_ids_B=torch.tensor([row], device=model.device),
            trace=None,
        ).sequences
    return model.decode(found[:, len(ahead) : len(ahead) + length])[0]


def scored(
    model: TextModel, context: str, continuation: str, samples: int, greedy: bool, batch_size: int, seed: int
) -> ContinuationScore:
    """See :meth:`unmask.core.model.Model.log_likelihood`; one continuation."""
    before, after = _pair(model, context, continuation)
    room = (_positions(model) or WIDEST) - sum(map(len, model.frame))
    nats, same = 0.0, True
    for start in range(0, len(after), room):
        piece = after[start : start + room]
        known = [*before, *after[:start]]
        known = known[max(0, len(known) + len(piece) - room) :]
        nats += _bound(model, known, piece, samples, batch_size, seed)
        same = same and greedy and _greedy(model, known, piece)
    return ContinuationScore(nats, same if greedy else None, bound=True)


def _bound(model: TextModel, before: list[int], after: list[int], samples: int, batch_size: int, seed: int) -> float:
    opening, closing = model.frame
    ids_1L = torch.tensor([[*opening, *before, *after, *closing]], device=model.device)
    start = len(opening) + len(before)
    open_1L = torch.zeros_like(ids_1L, dtype=torch.bool)
    open_1L[:, start : start + len(after)] = True
    found = bound(model.denoiser, ids_1L, samples=samples, batch_size=batch_size, seed=seed, open_NL=open_1L)
    return -float(found.nelbo_N[0])


def _greedy(model: TextModel, before: list[int], after: list[int]) -> bool:
    """Whether the continuation comes back, the most probable token of all positions first."""
    opening, closing = model.frame
    ahead = [*opening, *before]
    x_1L = torch.tensor([[*ahead, *[model.denoiser.mask_id] * len(after), *closing]], device=model.device)
    plan = DecodingPlan(order="top_prob", quota="linear", steps=len(after), temperature=0.0)
    with scoring(model.denoiser):
        found = generate(model.denoiser, x_1L, plan, trace=None).sequences[0].tolist()
    return bool(found == [*ahead, *after, *closing])


def _positions(model: TextModel) -> int | None:
    """Positions of a canvas: the model's, else those that its padding was trained on."""
    return model.denoiser.max_length or (model.card.length if model.own_canvas else None)


def _ids(model: TextModel, text: str) -> list[int]:
    found: Sequence[int] = model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return literal_ids(model.tokenizer, found, model.denoiser.mask_id)


def _pair(model: TextModel, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Ids of both, split as the joined text is; blanks at the end of a context belong to what follows."""
    before, whole = _ids(model, context.rstrip()), _ids(model, context + continuation)
    split = min(len(before), len(whole) - 1)
    if not continuation or split < 0:
        raise UsageError(f"the continuation {continuation!r} has no token")
    return whole[:split], whole[split:]
