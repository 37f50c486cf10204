"""The result of a KV-compression bench: one tree that the table, the page and the JSON file are made of.

Losses are in nats; `None` means "not measured", which is never filled in with another number.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.core.files import write_text
from unmask.core.render import page_of, save_page

#: tokens that are resampled together: neighbours are not independent, and windows alone are too few
BLOCK = 32


@dataclass(frozen=True)
class BlockBootstrapInterval:
    """A mean with a percentile bootstrap interval (95 %); NaN bounds where there was too little to resample."""

    value: float
    low: float
    high: float

    @property
    def above_zero(self) -> bool:
        return self.low > 0

    @property
    def below_zero(self) -> bool:
        return self.high < 0

    def exp(self) -> BlockBootstrapInterval:
        """The interval of the exponential: a perplexity from nats, a ratio of perplexities from a difference."""
        return BlockBootstrapInterval(math.exp(self.value), math.exp(self.low), math.exp(self.high))

    def __str__(self) -> str:
        return f"{self.value:.4f}" if math.isnan(self.low) else f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def interval(windows_WS: NDArray[np.float64], seed: int = 0, resamples: int = 1000) -> BlockBootstrapInterval:
    """Mean over all tokens, with blocks of :data:`BLOCK` tokens resampled (Künsch 1989, doi:10.1214/aos/1176347265).

    Args:
        windows_WS: one number a scored token, a window a row; a *difference* of two arms makes it paired.
        seed: of the resampling.
        resamples: how many.
    """
    value = float(windows_WS.mean())
    blocks = [b for row in windows_WS for b in np.array_split(row, max(1, round(len(row) / BLOCK)))]
    if len(blocks) < 4:
        return BlockBootstrapInterval(value, math.nan, math.nan)
    sums, sizes = np.array([b.sum() for b in blocks]), np.array([len(b) for b in blocks])
    times_RB = np.random.default_rng(seed).multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), resamples)
    low, high = np.quantile(times_RB @ sums / (times_RB @ sizes), [0.025, 0.975])
    return BlockBootstrapInterval(value, float(low), float(high))


@dataclass(frozen=True)
class SelfCheck:
    """The outcome of a self-check, with the pitfall that it rules out."""

    name: str
    passed: bool
    detail: str
    pitfall: str


@dataclass
class Sizes:
    """The measured size of a cache, in slots, visible tokens and bytes.

    Attributes:
        slots: least and most slots stored in a layer, over layers and over time.
        kept: least and most tokens that a head can see.
        bytes: of keys and values, measured at their storages, the most over time.
        full_bytes: the same for the uncompressed cache at the same moment.
        masked_only: tokens are hidden, not removed: no memory is saved.
        full_layers: layers that were left full.
    """

    slots: tuple[int, int]
    kept: tuple[int, int]
    bytes: int
    full_bytes: int
    masked_only: bool
    full_layers: tuple[int, ...]

    @property
    def saved(self) -> float:
        """Fraction of the cache's bytes that is gone."""
        return 1 - self.bytes / self.full_bytes


@dataclass
class GenerationQuality:
    """The quality of an arm's own continuation: the full model's nats a token, and the repetition these can hide."""

    nats: float
    entropy: float
    repetition: float
    tokens: int


@dataclass
class Arm:
    """One press at one budget on the same tokens as every other arm.

    Attributes:
        press: the press as written, ``full`` for the uncompressed cache.
        budget: what was asked for, as text.
        control: whether the bench added it for comparison.
        reason: why nothing was measured, None where something was.
        ppl: perplexity of the compressed cache; ``full_ppl`` of the full one on the same tokens.
        dnll: paired difference in nats a token.
        accuracy, full_accuracy: next-token accuracy.
        kl: mean KL(full || compressed) in nats; ``agreement``: how often both would pick the same token.
        dnll_by_position: by distance from the context, equal parts.
        greedy_match: tokens of the full model's greedy continuation that the arm would also write before the first
            difference; ``greedy_limit`` is the most there could be.
        over_control: dnll minus that of ``random_sinks`` at the same budget; None where that was not run.
        note: a sentence a reader should not miss.
    """

    press: str
    budget: str
    control: bool = False
    reason: str | None = None
    ppl: BlockBootstrapInterval | None = None
    full_ppl: BlockBootstrapInterval | None = None
    dnll: BlockBootstrapInterval | None = None
    accuracy: float | None = None
    full_accuracy: float | None = None
    kl: float | None = None
    agreement: float | None = None
    dnll_by_position: list[float] = field(default_factory=list)
    greedy_match: float | None = None
    greedy_limit: int | None = None
    generation: GenerationQuality | None = None
    sizes: Sizes | None = None
    over_control: BlockBootstrapInterval | None = None
    note: str = ""


@dataclass
class ProbeRow:
    """Questions about the context: an arm's share of answers written exactly, and nats a token of the answer."""

    press: str
    budget: str
    task: str
    right: int
    asked: int
    nats: float
    depth: float | None = None


@dataclass
class Spread:
    """Median and quartiles of n measurements."""

    median: float
    q1: float
    q3: float
    n: int

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        q1, median, q3 = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
        return cls(median, q1, q3, len(values))


@dataclass
class TimingRow:
    """Cost of one arm at one size, times in milliseconds; ``cold_ms`` is its first run and ``cold_order`` its turn."""

    press: str
    budget: str
    batch: int
    context: int
    new_tokens: int
    ttft_ms: Spread
    cold_ms: float
    cold_order: int
    tpot_ms: Spread
    itl_ms: Spread
    tokens_per_s: float
    peak_bytes: int | None
    cache_bytes: int
    slots: tuple[int, int]


@dataclass
class Timing:
    """Costs of all arms, and how far apart two runs of the *same* arm lie: differences below it say nothing."""

    rows: list[TimingRow]
    noise_ttft: float
    noise_tpot: float
    repeats: int
    peak_note: str


@dataclass
class KvResult:
    """The result of `unmask kv`: arms, probes, timings, self-checks and notes."""

    protocol: dict[str, Any]
    environment: dict[str, Any]
    checks: list[SelfCheck]
    standard_ppl: BlockBootstrapInterval
    arms: list[Arm]
    needle: list[ProbeRow] = field(default_factory=list)
    longset: list[ProbeRow] = field(default_factory=list)
    timing: Timing | None = None
    notes: list[str] = field(default_factory=list)

    def arm(self, press: str, budget: str) -> Arm:
        """The arm of a press at a budget."""
        return next(a for a in self.arms if (a.press, a.budget) == (press, budget))

    def json(self) -> str:
        """The tree as JSON; NaN becomes null."""
        return json.dumps(_plain(dataclasses.asdict(self)), indent=1, ensure_ascii=False)

    def save(self, folder: str | Path) -> tuple[Path, Path]:
        """Write ``kv.json`` and ``kv.html``; returns both paths."""
        place = Path(folder)
        data = write_text(place / "kv.json", self.json() + "\n")
        return data, save_page(place / "kv.html", page_of(self))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
