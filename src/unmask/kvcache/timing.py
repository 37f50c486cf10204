"""What compression costs and saves in time and memory.

Arms take turns in an order drawn anew each round, behind a warm-up; compression is inside the clock of the first
token; the device is waited for before every reading. The first run of each arm is kept apart: it is cold, and colder
the earlier it came. The full cache runs twice under two names: how far those two lie apart is the noise.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.random import generator
from unmask.kvcache.budget import CacheBudget
from unmask.kvcache.eviction import PressFailed
from unmask.kvcache.positions import PositionedCache
from unmask.kvcache.prefill import prefill_compressed
from unmask.kvcache.quantized import quantized
from unmask.kvcache.result import Spread, Timing, TimingRow
from unmask.kvcache.scoring import ArmSpec


class _Clock:
    """Seconds, read when the device has finished."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()


@torch.inference_mode()
def time_arms(
    model: Any,
    ids_L: Tensor,
    arms: list[ArmSpec],
    *,
    sizes: list[tuple[int, int]],
    new_tokens: int = 32,
    repeats: int = 5,
    seed: int = 0,
    progress: Callable[[str], None] = lambda what: None,
) -> Timing:
    """Latency and memory of every arm at every size.

    Args:
        model: a causal model.
        ids_L: text to fill the contexts with; repeated where it is too short.
        arms: what to time besides the full cache, which is added, twice.
        sizes: (batch, context) pairs.
        new_tokens: tokens decoded greedily after the context, always all of them.
        repeats: warm runs of each arm.
        seed: of the turns.
        progress: told what was finished.

    Raises:
        UsageError: no size, or sizes and counts that are too small.
    """
    if new_tokens < 2 or repeats < 1:
        raise UsageError(f"new_tokens={new_tokens} must be at least 2 and repeats={repeats} at least 1")
    if not sizes or min(map(min, sizes)) < 1:
        raise UsageError(f"sizes={sizes} must be pairs of a batch and a context, each at least 1")
    everyone = [*[ArmSpec(None, CacheBudget.of(keep=1))] * 2, *(a for a in arms if a.name != "full")]
    rows, floors = [], []
    peak, note = _peak_memory(model.device)
    for batch, context in sizes:
        ids = ids_L.repeat(batch * context // max(1, len(ids_L)) + 1)[: batch * context]
        found = _one_size(model, ids.view(batch, context), everyone, new_tokens, repeats, seed, peak, progress)
        made = [
            _row(a, r, batch, context, new_tokens, i) for i, (a, r) in enumerate(zip(everyone, found, strict=True)) if r
        ]
        # the full cache cannot fail: the first two rows are its own
        floors.append((_apart(made[0].ttft_ms, made[1].ttft_ms), _apart(made[0].tpot_ms, made[1].tpot_ms)))
        made[1].press = "full again"
        rows += made
    return Timing(rows, max(f[0] for f in floors), max(f[1] for f in floors), repeats, note)


def _one_size(
    model: Any,
    ids_BL: Tensor,
    arms: list[ArmSpec],
    new_tokens: int,
    repeats: int,
    seed: int,
    peak: Any,
    progress: Callable[[str], None],
) -> list[list[dict[str, Any]]]:
    """Runs of each arm, the cold one first; an empty list where the press cannot be applied."""
    runs: list[list[dict[str, Any]]] = [[] for _ in arms]
    failed: set[int] = set()
    # round 0 is cold, round 1 warms up and is thrown away
    for turn in range(repeats + 2):
        order = torch.randperm(len(arms), generator=generator(seed, turn)).tolist() if turn else range(len(arms))
        for i in order:
            if i in failed:
                continue
            try:
                run = _run(model, ids_BL, arms[i], new_tokens, peak)
            except PressFailed:
                failed.add(i)
                runs[i] = []
                continue
            if turn != 1:
                runs[i].append(run)
        progress(f"timing {ids_BL.shape[0]}x{ids_BL.shape[1]}: round {turn + 1} of {repeats + 2}")
    return runs


def _run(model: Any, ids_BL: Tensor, asked: ArmSpec, new_tokens: int, peak: Any) -> dict[str, Any]:
    clock = _Clock(model.device)
    press = None if asked.press is None else asked.press.build()
    tokens = asked.budget.tokens(ids_BL.shape[1])
    with peak() as most:
        start = clock.now()
        state, logits_BV = prefill_compressed(model, ids_BL, press, tokens)
        if asked.bits is not None:
            state = quantized(state, asked.bits)
        next_B = logits_BV.argmax(-1)
        stamps = [clock.now()]
        held, slots = state.bytes(), state.slots()
        begun = clock.now()
        for _ in range(new_tokens - 1):
            next_B = state.feed(next_B[:, None])[:, -1].argmax(-1)
            stamps.append(clock.now())
    between = [b - a for a, b in zip([begun, *stamps[1:]], stamps[1:], strict=False)]
    return {
        "ttft": stamps[0] - start,
        "itl": between,
        "tpot": sum(between) / len(between),
        "rate": ids_BL.shape[0] * new_tokens / (stamps[0] - start + sum(between)),
        "bytes": held,
        "slots": (min(slots), max(slots)),
        "peak": most[0],
    }


def _row(asked: ArmSpec, runs: list[dict[str, Any]], batch: int, context: int, new_tokens: int, turn: int) -> TimingRow:
    cold, warm = runs[0], runs[1:]
    peaks = [r["peak"] for r in warm if r["peak"] is not None]
    return TimingRow(
        press=asked.name,
        budget=str(asked.budget),
        batch=batch,
        context=context,
        new_tokens=new_tokens,
        ttft_ms=Spread.of([1e3 * r["ttft"] for r in warm]),
        cold_ms=1e3 * cold["ttft"],
        cold_order=turn + 1,
        tpot_ms=Spread.of([1e3 * r["tpot"] for r in warm]),
        itl_ms=Spread.of([1e3 * s for r in warm for s in r["itl"]]),
        tokens_per_s=Spread.of([r["rate"] for r in warm]).median,
        peak_bytes=int(max(peaks)) if peaks else None,
        cache_bytes=warm[0]["bytes"],
        slots=warm[0]["slots"],
    )


def _apart(one: Spread, two: Spread) -> float:
    """Relative distance below which a difference says nothing: between two runs of the same arm, or within one."""
    return max(abs(one.median - two.median), (one.q3 - one.q1) / 2, (two.q3 - two.q1) / 2) / one.median


def _peak_memory(device: torch.device) -> tuple[Callable[[], contextlib.AbstractContextManager[list[int | None]]], str]:
    """A block that measures its own peak memory, and a sentence on what it measures."""
    if device.type == "cuda":

        @contextlib.contextmanager
        def cuda() -> Iterator[list[int | None]]:
            torch.cuda.reset_peak_memory_stats(device)
            found: list[int | None] = [None]
            yield found
            found[0] = torch.cuda.max_memory_allocated(device)

        return cuda, "peak memory that torch allocated on the GPU, weights included"
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if device.type == "cpu" and clear.exists():

        @contextlib.contextmanager
        def resident() -> Iterator[list[int | None]]:
            found: list[int | None] = [None]
            try:
                clear.write_text("5")  # Linux: forget the peak of resident memory so far
                cleared = True
            except OSError:
                cleared = False
            yield found
            if cleared:
                lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
                found[0] = int(lines["VmHWM"].split()[0]) * 1024

        return resident, "peak resident memory of the whole process, weights included"

    @contextlib.contextmanager
    def unknown() -> Iterator[list[int | None]]:
        yield [None]

    return unknown, "peak memory is not measured on this device"


def decode_overhead(model: Any, ids_BL: Tensor, *, new_tokens: int = 32, repeats: int = 5) -> float:
    """Time of decoding through :class:`PositionedCache` over that of a plain transformers loop, medians of one run."""
    from transformers import DynamicCache

    clock = _Clock(model.device)
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    with torch.inference_mode():
        for turn in range(repeats + 1):
            for name in ("ours", "plain") if turn % 2 else ("plain", "ours"):
                state, cache = PositionedCache(model, len(ids_BL)), DynamicCache()
                start = clock.now()
                for i in range(new_tokens):
                    part = ids_BL if i == 0 else ids_BL[:, :1]
                    if name == "ours":
                        state.feed(part, logits_to_keep=1)
                    else:
                        model(input_ids=part, past_key_values=cache, use_cache=True, logits_to_keep=1)
                if turn:
                    times[name].append(clock.now() - start)
    return Spread.of(times["ours"]).median / Spread.of(times["plain"]).median
