"""Checks before any table: if one fails, what was about to be printed would be wrong, and nothing is printed.

Each compares the cache that will be measured with another way to the same numbers, on a short piece of the very text.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import UnmaskError
from unmask.core.random import generator
from unmask.kvcache.eviction import PressFailed
from unmask.kvcache.layers import hooked
from unmask.kvcache.positions import PositionedCache
from unmask.kvcache.prefill import Prefill
from unmask.kvcache.press import PressSpec
from unmask.kvcache.result import SelfCheck

#: nats that two ways to the same next-token loss may differ by, mean over tokens
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6, torch.bfloat16: 0.05, torch.float16: 0.02}


class SelfCheckFailed(UnmaskError):
    """A self-check failed, so there is no table; the message names the pitfall."""


@torch.inference_mode()
def selfchecks(
    model: Any,
    ids_L: Tensor,
    specs: list[PressSpec],
    *,
    context: int | None = None,
    mode: str = "original",
    cache: type[PositionedCache] = PositionedCache,
) -> list[SelfCheck]:
    """The outcomes of all self-checks.

    Args:
        model: the model that will be measured.
        ids_L: text, a few hundred tokens are enough.
        specs: the presses that will be measured.
        context: how many of ``ids_L`` are compressed; three quarters when None.
        mode: the positions that will be measured with.
        cache: class of the cache under test.
    """
    ids_1L = ids_L[None].to(model.device)
    context = context or 3 * len(ids_L) // 4
    new_1S = ids_1L[:, context:]
    prefill = Prefill(model, ids_1L[:, :context], mode=mode, cache=cache)
    full = prefill.full().feed(new_1S)
    limit = TOLERANCE.get(model.dtype, 0.05)
    checks = [_cached(model, ids_1L, context, full, limit)]
    for spec in specs:
        checks += _press_checks(prefill, spec, new_1S, full, ids_1L, limit)
    again = Prefill(model, ids_1L[:, :context], mode=mode, cache=cache).full().feed(new_1S)
    checks.append(
        SelfCheck(
            "presses leave nothing behind",
            bool(torch.equal(again, full)),
            f"the full cache's logits before and after all presses differ by {_most(again, full):.2g}",
            "stale masks and hooks: a press still acts on what is measured after it",
        )
    )
    return checks


def require(checks: list[SelfCheck]) -> None:
    """Raise :class:`SelfCheckFailed` if a check failed.

    Raises:
        SelfCheckFailed: with the check's name, what was found and the pitfall.
    """
    failed = [c for c in checks if not c.passed]
    if failed:
        said = "; ".join(f"{c.name} ({c.detail}): {c.pitfall}" for c in failed)
        raise SelfCheckFailed(f"no table, because {len(failed)} of {len(checks)} self-checks failed: {said}")


def _cached(model: Any, ids_1L: Tensor, context: int, full: Tensor, limit: float) -> SelfCheck:
    uncached = model(input_ids=ids_1L, use_cache=False).logits[:, context:]
    off = _nats_apart(full, uncached, ids_1L[:, context:])
    return SelfCheck(
        "cached and uncached agree",
        off <= limit,
        f"{off:.2g} nats a token apart, {limit:g} allowed",
        "the full cache already answers differently from the model: positions or masks of cached tokens are wrong",
    )


def _press_checks(
    prefill: Prefill, spec: PressSpec, new_1S: Tensor, full: Tensor, ids_1L: Tensor, limit: float
) -> list[SelfCheck]:
    context = prefill.length
    try:
        exact = prefill.compressed(spec.build(), context).feed(new_1S)
    except PressFailed:
        return []  # it cannot meet this model: the table says why it is not measured
    checks = [
        SelfCheck(
            f"keep 1 is exact: {spec}",
            bool(torch.equal(exact, full)),
            f"logits differ by {_most(exact, full):.2g}",
            "the arm is not the model that it is compared with (a copy was compressed, or the ratio is the one kept)",
        )
    ]
    tokens = context // 2
    try:
        state = prefill.compressed(spec.build(), tokens)
    except PressFailed:
        return checks  # it fits the model and not this budget
    answers = state.clone().feed(new_1S)
    off = _nats_apart(answers, _shuffled(state.clone()).feed(new_1S), new_1S)
    checks.append(
        SelfCheck(
            f"order of storage is free: {spec}",
            off <= limit,
            f"{off:.2g} nats a token apart, {limit:g} allowed",
            "masks or positions go by slot, not by token",
        )
    )
    if int(state.next_B[0]) == context:
        off = _nats_apart(answers, _masked_text(prefill.model, ids_1L, state, context), new_1S)
        checks.append(
            SelfCheck(
                f"positions are true: {spec}",
                off <= limit,
                f"{off:.2g} nats a token from the whole text with the evicted keys masked, {limit:g} allowed",
                "the next token's position was taken from the shrunken cache",
            )
        )
    before = state.slots()
    state.feed(new_1S[:, :1])
    grown = all(
        b - a == 1 or prefill.state.windows[i] for i, (a, b) in enumerate(zip(before, state.slots(), strict=True))
    )
    checks.append(
        SelfCheck(
            f"compressed once: {spec}",
            grown,
            f"one new token took the layers from {min(before)} to {min(state.slots())} slots",
            "the ratio is applied again at every step and compounds",
        )
    )
    return checks


def _shuffled(state: PositionedCache) -> PositionedCache:
    for layer, pos_BHK in enumerate(state.positions):
        order = torch.randperm(pos_BHK.shape[-1], generator=generator(layer)).to(pos_BHK.device)
        state.select(layer, order.expand_as(pos_BHK))
    return state


def _masked_text(model: Any, ids_1L: Tensor, state: PositionedCache, context: int) -> Tensor:
    """Uncached logits behind the context, where queries see only those context tokens that a cache kept."""
    length = ids_1L.shape[1]
    at_L = torch.arange(length, device=ids_1L.device)
    groups = model.config.num_attention_heads // state.positions[0].shape[1]
    masks = []
    for pos_BHK, window in zip(state.positions, state.windows, strict=True):
        see_LL = at_L[None] <= at_L[:, None]
        if window is not None:
            see_LL &= at_L[:, None] - at_L[None] < window
        kept_HC = torch.zeros(pos_BHK.shape[1], context + 1, dtype=torch.bool, device=ids_1L.device)
        kept_HC.scatter_(1, torch.where(pos_BHK[0] >= 0, pos_BHK[0], context), True)
        see_HLL = see_LL.expand(pos_BHK.shape[1], -1, -1).clone()
        see_HLL[:, context:, :context] &= kept_HC[:, None, :context]
        mask = see_HLL.repeat_interleave(groups, 0)[None]
        if model.config._attn_implementation == "eager":
            mask = torch.zeros_like(mask, dtype=model.dtype).masked_fill_(~mask, torch.finfo(model.dtype).min)
        masks.append(mask)
    with hooked(state.attention, masks, None):
        return model(input_ids=ids_1L, attention_mask=masks[0], use_cache=False).logits[:, context:]


def _nats_apart(one: Tensor, two: Tensor, ids_1S: Tensor) -> float:
    """Mean difference of two models' losses on the next tokens, in nats, in absolute value."""
    nats = [-x[0, :-1].float().log_softmax(-1).gather(-1, ids_1S[0, 1:, None])[:, 0] for x in (one, two)]
    return float((nats[0] - nats[1]).abs().mean())


def _most(one: Tensor, two: Tensor) -> float:
    return float((one.float() - two.float()).abs().max())
