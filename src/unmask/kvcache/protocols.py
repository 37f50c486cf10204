"""When a cache is compressed: once after the prefill, or again and again to stay within a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.random import Stream, uniform
from unmask.core.sampling import categorical
from unmask.kvcache.budget import CacheBudget
from unmask.kvcache.eviction import PressFailed, evict, has_hooks, layer_press, prepared
from unmask.kvcache.layers import LayerInput
from unmask.kvcache.positions import MODES, PositionedCache
from unmask.kvcache.prefill import Prefill
from unmask.kvcache.result import Sizes


class When(Protocol):
    """A protocol of compression: when a cache is compressed while new tokens are processed."""

    mode: str

    def start(self, prefill: Prefill, press: Any, budget: CacheBudget) -> Track:
        """The compressed cache, ready for the first new token."""
        ...


@dataclass(frozen=True)
class OneShot:
    """Compress once, after the whole context is read; what is written later stays."""

    mode: str = "original"

    def start(self, prefill: Prefill, press: Any, budget: CacheBudget) -> Track:
        if press is None:
            return Track(prefill, prefill.full())
        return Track(prefill, prefill.compressed(press, budget.tokens(prefill.length)))

    def __str__(self) -> str:
        return "one-shot after the prefill"


@dataclass(frozen=True)
class Rolling:
    """Keep every layer within the budget: compress after the prefill and after every ``interval`` new tokens.

    The budget is a number of tokens, taken from the context once. Applying a *ratio* again and again compounds.

    Args:
        interval: new tokens between two evictions.
        mode: ``original`` positions, or ``cache``: re-rotated to lie close together (StreamingLLM, arXiv 2309.17453).
    """

    interval: int = 32
    mode: str = "original"

    def __post_init__(self) -> None:
        if self.interval < 1:
            raise UsageError(f"interval={self.interval} must be at least 1 token")
        if self.mode not in MODES:
            raise UsageError(f"positions={self.mode!r} must be one of {', '.join(MODES)}")

    def start(self, prefill: Prefill, press: Any, budget: CacheBudget) -> Track:
        if press is None or budget.whole:
            return Track(prefill, prefill.full(), growing=True)
        if has_hooks(press):
            raise PressFailed(f"{type(press).__name__} works inside a prefill only: it cannot keep a rolling budget")
        target = budget.tokens(prefill.length)
        track = Track(prefill, prefill.compressed(press, target), growing=True)
        track.press, track.target, track.interval = press, target, self.interval
        return track

    def __str__(self) -> str:
        return f"rolling budget, every {self.interval} tokens, {self.mode} positions"


class Track:
    """A compressed cache that processes new tokens and records its sizes."""

    press: Any = None
    target: int = 0
    interval: int = 0

    def __init__(self, prefill: Prefill, state: PositionedCache, growing: bool = False) -> None:
        self.growing = growing  # sizes count over the whole run, not only right after the prefill
        self.model, self.state, self.context = prefill.model, state, prefill.length
        self._fresh: list[LayerInput] = []
        self._since = 0  # tokens since the last eviction
        self._slots: list[list[int]] = []
        self._kept: list[tuple[int, int]] = []
        self._bytes: list[int] = []
        self._note()

    @torch.inference_mode()
    def feed(self, ids_BS: Tensor) -> Tensor:
        """Logits_BSV of new tokens, with evictions where the protocol has them."""
        if not self.interval:
            logits = self.state.feed(ids_BS)
            if self.growing:
                self._note()
            return logits
        parts, at = [], 0
        while at < ids_BS.shape[1]:
            take = min(self.interval - self._since, ids_BS.shape[1] - at)
            now: list[LayerInput] = []
            parts.append(self.state.feed(ids_BS[:, at : at + take], record=now))
            self._fresh = [a.then(b) for a, b in zip(self._fresh, now, strict=True)] if self._fresh else now
            at, self._since = at + take, self._since + take
            self._note()
            if self._since == self.interval:
                self._evict()
                self._fresh, self._since = [], 0
                self._note()
        return torch.cat(parts, dim=1)

    def _evict(self) -> None:
        with prepared(self.press, self.model):
            evict(self.state, self._fresh, self.press, self.target)
        over = [
            n for i, n in enumerate(self.state.slots()) if n > self.target and layer_press(self.press, i) is not None
        ]
        if over:
            raise PressFailed(
                f"{type(self.press).__name__} leaves {over[0]} slots where {self.target} were wanted: it hides tokens "
                "or has a budget of its own, so it cannot hold a rolling one"
            )

    @torch.inference_mode()
    def generate(self, first_B: Tensor, tokens: int, *, seed: int = 0, row: int = 0, sample: bool = True) -> Tensor:
        """Greedily generated tokens [B, N]; the first is given (the prefill chose it, no press changes it).

        Draws are named by ``seed``, ``row`` and place, so that all arms share their noise.
        """
        out = [first_B[:, None]]
        rows = row + torch.arange(len(first_B), device=first_B.device)
        for i in range(1, tokens):
            logits_BV = self.feed(out[-1])[:, -1]
            new_B = categorical(logits_BV, uniform(seed, rows, i, Stream.VALUE)) if sample else logits_BV.argmax(-1)
            out.append(new_B[:, None])
        return torch.cat(out, dim=1)

    def _note(self) -> None:
        self._slots.append(self.state.slots())
        self._kept.extend(self.state.lengths())
        self._bytes.append(self.state.bytes())

    def sizes(self, full: PositionedCache) -> Sizes:
        """Sizes right after compression (one-shot), or over the whole run (rolling)."""
        flat = [n for slots in self._slots for n in slots]
        shut = tuple(i for i, n in enumerate(self._slots[0]) if n >= self.context and self._slots[0] != full.slots())
        return Sizes(
            slots=(min(flat), max(flat)),
            kept=(min(k[0] for k in self._kept), max(k[1] for k in self._kept)),
            bytes=max(self._bytes),
            full_bytes=full.bytes(),
            masked_only=any(least < n for n, (least, _) in zip(self._slots[0], self._kept, strict=False)),
            full_layers=shut,
        )
