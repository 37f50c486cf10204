"""Scoring arms on the same tokens as the full cache, in one pass over each window.

The first token after the context is predicted by the prefill, which no press changes: it is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.kvcache.budget import CacheBudget
from unmask.kvcache.eviction import PressFailed
from unmask.kvcache.positions import PositionedCache
from unmask.kvcache.prefill import Prefill
from unmask.kvcache.press import PressSpec
from unmask.kvcache.protocols import Track, When
from unmask.kvcache.quantized import quantized
from unmask.kvcache.result import Arm, BlockBootstrapInterval, GenerationQuality, Sizes, interval

#: the control that every press is held against
CONTROL = "random_sinks"
#: equal parts of the continuation in which the loss by position is shown
PARTS = 8


@dataclass
class ArmSpec:
    """The specification of an arm: a press (or bits) and a budget."""

    press: PressSpec | None
    budget: CacheBudget
    control: bool = False
    bits: int | None = None

    @property
    def name(self) -> str:
        """The press as written, ``full`` without one, ``4-bit`` for a cache that is rounded instead."""
        if self.bits is not None:
            return f"{self.bits}-bit"
        return "full" if self.press is None else str(self.press)

    def start(self, prefill: Prefill, when: When) -> Track:
        """This arm's cache, ready for the first new token."""
        if self.bits is not None:
            plain = when.start(prefill, None, self.budget)
            return Track(prefill, quantized(plain.state, self.bits), growing=plain.growing)
        return when.start(prefill, None if self.press is None else self.press.build(), self.budget)


@dataclass
class _Raw:
    """What one arm gave on the windows so far, a list entry a window."""

    nats: list[np.ndarray] = field(default_factory=list)
    right: list[np.ndarray] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    agree: list[float] = field(default_factory=list)
    match: list[int] = field(default_factory=list)
    written: list[tuple[float, float, float, int]] = field(default_factory=list)
    sizes: list[Sizes] = field(default_factory=list)
    reason: str | None = None


@torch.inference_mode()
def score(
    model: Any,
    windows: list[Tensor],
    context: int,
    arms: list[ArmSpec],
    when: When,
    *,
    greedy: int = 32,
    write: int = 48,
    writing_windows: int = 2,
    seed: int = 0,
    chunk: int | None = None,
    cache: type[PositionedCache] = PositionedCache,
    progress: Callable[[str], None] = lambda what: None,
) -> tuple[BlockBootstrapInterval, list[Arm]]:
    """The full cache's nats and every arm's scores over all windows.

    Args:
        model: a causal model.
        windows: token ids [context + continuation] each.
        context: how many tokens of a window are the context.
        arms: what to measure; the full cache is always measured first and need not be among them.
        when: the protocol.
        greedy: length of the full model's greedy continuation that arms are held against; 0 leaves it out.
        write: tokens that each arm writes by itself; 0 leaves it out.
        writing_windows: on how many windows arms write.
        seed: of draws and resampling.
        chunk: prefill in pieces of this many tokens.
        cache: class of the cache; only a study of planted faults gives another one.
        progress: told what was finished.

    Returns:
        the full cache's perplexity, and the arms in the order asked for.
    """
    raws = [_Raw() for _ in arms]
    full_raw = _Raw()
    for w, window_L in enumerate(windows):
        prefill = Prefill(model, window_L[None, :context], mode=when.mode, chunk=chunk, cache=cache)
        new_1S = window_L[None, context:].to(model.device)
        full_logits = prefill.full().feed(new_1S)[0, :-1]
        targets_S = new_1S[0, 1:]
        full_log = full_logits.float().log_softmax(-1)
        full_raw.nats.append(_nats(full_log, targets_S))
        full_raw.right.append((full_logits.argmax(-1) == targets_S).cpu().numpy())
        first_1 = prefill.logits_BV.argmax(-1)
        reference = Track(prefill, prefill.full()).generate(first_1, greedy, sample=False) if greedy > 1 else None
        if write > 1 and w < writing_windows:
            full_raw.written.append(_write(prefill, Track(prefill, prefill.full()), write, seed, w))
        progress(f"window {w + 1}: full cache")
        for asked, raw in zip(arms, raws, strict=True):
            if raw.reason is None:
                try:
                    _score_arm(
                        prefill,
                        asked,
                        raw,
                        when,
                        new_1S,
                        full_log,
                        reference,
                        write if w < writing_windows else 0,
                        seed,
                        w,
                    )
                except PressFailed as failed:
                    raw.reason = str(failed)
            progress(f"window {w + 1}: {asked.name} {asked.budget}")
    nats_WS = np.stack(full_raw.nats)
    made = [_arm(asked, raw, full_raw, seed, greedy) for asked, raw in zip(arms, raws, strict=True)]
    _against_control(made, arms, raws, seed)
    return interval(nats_WS, seed).exp(), made


def _score_arm(
    prefill: Prefill,
    asked: ArmSpec,
    raw: _Raw,
    when: When,
    new_1S: Tensor,
    full_log_SV: Tensor,
    reference_1G: Tensor | None,
    write: int,
    seed: int,
    window: int,
) -> None:
    track = asked.start(prefill, when)
    log_SV = track.feed(new_1S)[0, :-1].float().log_softmax(-1)
    targets_S = new_1S[0, 1:]
    raw.nats.append(_nats(log_SV, targets_S))
    raw.right.append((log_SV.argmax(-1) == targets_S).cpu().numpy())
    raw.kl.append(float((full_log_SV.exp() * (full_log_SV - log_SV)).sum(-1).mean()))
    raw.agree.append(float((full_log_SV.argmax(-1) == log_SV.argmax(-1)).float().mean()))
    full = prefill.full()
    if track.growing:
        full.feed(new_1S)  # a rolling cache is compared with a full one at its longest
    raw.sizes.append(track.sizes(full))
    if reference_1G is not None:
        # teacher-forced on the reference: until its first difference an arm's greedy text *is* the reference
        picked_G = asked.start(prefill, when).feed(reference_1G)[0, :-1].argmax(-1)
        same = (picked_G == reference_1G[0, 1:]).long()
        raw.match.append(int(same.cumprod(0).sum()))
    if write > 1:
        raw.written.append(_write(prefill, asked.start(prefill, when), write, seed, window))


def _write(prefill: Prefill, track: Track, tokens: int, seed: int, window: int) -> tuple[float, float, float, int]:
    """An arm writes, the full model scores it: mean nats, entropy of its tokens in nats, repeated 4-grams, count."""
    first_1 = prefill.logits_BV.argmax(-1)
    text_1N = track.generate(first_1, tokens, seed=seed, row=window)
    log_NV = prefill.full().feed(text_1N)[0, :-1].float().log_softmax(-1)
    ids = text_1N[0].tolist()
    _, counts = np.unique(ids, return_counts=True)
    share = counts / counts.sum()
    grams = [tuple(ids[i : i + 4]) for i in range(len(ids) - 3)]
    return (
        float(_nats(log_NV, text_1N[0, 1:]).mean()),
        float(-(share * np.log(share)).sum()),
        1 - len(set(grams)) / max(1, len(grams)),
        tokens - 1,
    )


def _nats(log_SV: Tensor, targets_S: Tensor) -> np.ndarray:
    return (-log_SV.gather(-1, targets_S[:, None])[:, 0]).double().cpu().numpy()


def _arm(asked: ArmSpec, raw: _Raw, full: _Raw, seed: int, greedy: int) -> Arm:
    arm = Arm(asked.name, str(asked.budget), asked.control, raw.reason)
    if raw.reason is not None:
        return arm
    nats_WS, full_WS = np.stack(raw.nats), np.stack(full.nats)
    arm.ppl, arm.full_ppl = interval(nats_WS, seed).exp(), interval(full_WS, seed).exp()
    arm.dnll = interval(nats_WS - full_WS, seed)
    arm.accuracy, arm.full_accuracy = float(np.mean(raw.right)), float(np.mean(full.right))
    arm.kl, arm.agreement = float(np.mean(raw.kl)), float(np.mean(raw.agree))
    parts = np.array_split(nats_WS - full_WS, min(PARTS, nats_WS.shape[1]), axis=1)
    arm.dnll_by_position = [float(p.mean()) for p in parts]
    if raw.match:
        arm.greedy_match, arm.greedy_limit = float(np.mean(raw.match)), greedy - 1
    if raw.written:
        nats, entropy, repetition, tokens = zip(*raw.written, strict=True)
        arm.generation = GenerationQuality(
            float(np.mean(nats)), float(np.mean(entropy)), float(np.mean(repetition)), int(sum(tokens))
        )
    arm.sizes = _joined(raw.sizes)
    return arm


def _joined(sizes: list[Sizes]) -> Sizes:
    """Sizes over all windows: the extremes, and the most bytes."""
    return Sizes(
        (min(s.slots[0] for s in sizes), max(s.slots[1] for s in sizes)),
        (min(s.kept[0] for s in sizes), max(s.kept[1] for s in sizes)),
        max(s.bytes for s in sizes),
        max(s.full_bytes for s in sizes),
        any(s.masked_only for s in sizes),
        sizes[0].full_layers,
    )


def _against_control(made: list[Arm], arms: list[ArmSpec], raws: list[_Raw], seed: int) -> None:
    """Say of each arm whether it is better than random tokens beside the sinks at the same budget."""
    controls = {str(a.budget): r for a, r in zip(arms, raws, strict=True) if a.name == CONTROL and r.reason is None}
    for arm, asked, raw in zip(made, arms, raws, strict=True):
        control = controls.get(arm.budget)
        if control is None or raw.reason is not None or asked.press is None or asked.name == CONTROL:
            continue
        if asked.budget.whole or arm.dnll is None:
            continue
        arm.over_control = interval(np.stack(raw.nats) - np.stack(control.nats), seed)
        if not arm.over_control.below_zero:
            arm.note = f"not better than {CONTROL}"
        if math.isnan(arm.over_control.low):
            arm.note = f"too few tokens to compare with {CONTROL}"
