"""The bench behind `unmask kv`: self-checks, then quality, retrieval and cost of every press on the same tokens."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.unknown import require_known, unknown_ids
from unmask.kvcache.budget import CacheBudget
from unmask.kvcache.longset import longset
from unmask.kvcache.model import CausalModelProtocol, require_kv_cache, rotary_module
from unmask.kvcache.needle import needles
from unmask.kvcache.press import PressSpec, presses
from unmask.kvcache.probes import Probe, ask_probes
from unmask.kvcache.protocols import OneShot, Rolling
from unmask.kvcache.quantized import require_bits, require_package
from unmask.kvcache.result import KvResult
from unmask.kvcache.scoring import CONTROL, ArmSpec, score
from unmask.kvcache.selfchecks import require, selfchecks
from unmask.kvcache.timing import time_arms

#: what every table is held against, at the same budgets
CONTROLS = ("random", CONTROL, "streaming_llm")
#: tokens of text that the self-checks look at
CHECKED = 200


@dataclass(frozen=True)
class Settings:
    """Settings of a benchmark: presses, budgets, windows, and what is measured.

    Attributes:
        press: presses, as on the command line.
        budgets: what stays: ``("1", "0.9", "256t")``.
        context: tokens that are compressed.
        continuation: tokens after them that are scored (the first one is not: no press changes it).
        windows: how many places of the text.
        rolling: keep within the budget while reading on, instead of compressing once.
        interval: tokens between two evictions when rolling.
        positions: ``original`` or ``cache`` (re-rotated; rotary models only).
        chunk: prefill in pieces of this many tokens.
        quantize: add arms whose cache is rounded to so many bits (2 or 4), all tokens kept.
        controls: add random tokens, random + sinks, and sinks + recent at the same budgets.
        greedy: length of the greedy continuation that arms must match.
        write, writing_windows: tokens that arms write by themselves, on how many windows.
        needles: needles at each of five depths; 0 leaves them out.
        long: probes of each long-context task; 0 leaves them out.
        query_aware: compress after the question was read.
        repeats: warm timing runs of each arm; 0 leaves timing out.
        batches: batch sizes to time.
        timed_contexts: contexts to time; the context itself when empty.
        new_tokens: tokens decoded when timing.
        seed: of everything that is drawn.

    Raises:
        UsageError: sizes or counts that cannot be timed.
    """

    press: str = "knorm,snapkv,keydiff"
    budgets: tuple[str, ...] = ("1", "0.9", "0.7", "0.5")
    context: int = 1024
    continuation: int = 256
    windows: int = 4
    rolling: bool = False
    interval: int = 32
    positions: str = "original"
    chunk: int | None = None
    quantize: tuple[int, ...] = ()
    controls: bool = True
    greedy: int = 32
    write: int = 48
    writing_windows: int = 2
    needles: int = 2
    long: int = 2
    query_aware: bool = False
    repeats: int = 3
    batches: tuple[int, ...] = (1,)
    timed_contexts: tuple[int, ...] = ()
    new_tokens: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        # timing comes last: what it would refuse must not cost everything that was measured before
        if self.chunk is not None and self.chunk < 1:
            raise UsageError(f"chunk={self.chunk} must be at least 1 token")
        if self.repeats < 0:
            raise UsageError(f"repeats={self.repeats} must be at least 0, which leaves timing out")
        for name, values, what in (("batch", self.batches, "row"), ("timed_context", self.timed_contexts, "token")):
            if values and min(values) < 1:
                raise UsageError(f"{name}={min(values)} must be at least 1 {what}")
        if self.repeats and not self.batches:
            raise UsageError("no batch size is given to time: write --batch 1, or --repeats 0 to leave timing out")
        if self.repeats and self.new_tokens < 2:
            raise UsageError(
                f"new_tokens={self.new_tokens} must be at least 2 where repeats={self.repeats} ask for timing"
            )

    @property
    def timed(self) -> list[tuple[int, int]]:
        """(batch, context) pairs to time."""
        return [(b, c) for b in self.batches for c in self.timed_contexts or (self.context,)] if self.repeats else []

    def when(self) -> OneShot | Rolling:
        """The protocol."""
        if self.rolling:
            return Rolling(self.interval, self.positions)
        return OneShot(self.positions)


def bench(
    causal: CausalModelProtocol,
    text: str,
    settings: Settings | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> KvResult:
    """Quality, retrieval and cost of presses on a model and a text.

    Args:
        causal: model and tokenizer.
        text: prose, long enough for the windows.
        settings: what to measure.
        progress: told what is being done.

    Raises:
        UsageError: a setting is wrong, the model has no KV cache, or text or context are too short; all of it is said
            before anything is scored.
        SelfCheckFailed: the numbers could not be trusted.
    """
    settings = settings or Settings()
    specs = presses.parse(settings.press)
    arms = plan(specs, settings)
    when = settings.when()
    model = causal.model
    require_kv_cache(model)
    if settings.quantize:
        require_package()
    windows = text_windows(causal, text, settings)
    unknown = require_known(unknown_ids(causal.tokenizer, [row.flatten().tolist() for row in windows]), causal.name)
    made = {"length": settings.context, "seed": settings.seed}
    needle = needles(causal, text, each=settings.needles, **made) if settings.needles else []
    long = longset(causal, text, each=settings.long, **made) if settings.long else []
    _require_positions(causal, settings, [*needle, *long])
    progress("self-checks")
    short = windows[0][:CHECKED]
    checks = selfchecks(model, short, list({str(a.press): a.press for a in arms if a.press}.values()), mode=when.mode)
    require(checks)
    standard, scored = score(
        model,
        windows,
        settings.context,
        arms,
        when,
        greedy=settings.greedy,
        write=settings.write,
        writing_windows=settings.writing_windows,
        seed=settings.seed,
        chunk=settings.chunk,
        progress=progress,
    )
    result = KvResult(
        protocol=_protocol(settings, when, windows, text),
        environment=_environment(causal),
        checks=checks,
        standard_ppl=standard,
        arms=scored,
    )
    asked = [a for a in arms if a.name != "full"]
    result.needle = ask_probes(model, needle, asked, when, query_aware=settings.query_aware, progress=progress)
    result.longset = ask_probes(model, long, asked, when, query_aware=settings.query_aware, progress=progress)
    if settings.timed:
        pressed = [a for a in asked if a.press is not None]
        least = min(pressed, key=lambda a: a.budget.tokens(settings.context)).budget if pressed else None
        result.timing = time_arms(
            model,
            windows[0],
            [a for a in asked if a.bits is not None or (a.budget == least and not a.control)],
            sizes=settings.timed,
            new_tokens=settings.new_tokens,
            repeats=settings.repeats,
            seed=settings.seed,
            progress=progress,
        )
    result.notes = notes(result)
    if str(unknown):
        result.notes.append(f"{unknown} to the tokenizer of {causal.name}.")
    return result


def plan(specs: list[PressSpec], settings: Settings) -> list[ArmSpec]:
    """The arms: the full cache once, then every press and control at every budget that removes something."""
    budgets = list(dict.fromkeys(CacheBudget.parse(b) for b in settings.budgets))
    if not budgets:
        raise UsageError("no budget is given: write --keep 0.9 or --tokens 256")
    for bits in settings.quantize:
        require_bits(bits)
    names = {str(s) for s in specs}
    added = [s for name in CONTROLS if settings.controls for s in presses.parse(name) if str(s) not in names]
    whole = CacheBudget.of(keep=1)
    arms = [ArmSpec(None, whole), *(ArmSpec(None, whole, bits=b) for b in settings.quantize)]
    for budget in budgets:
        if budget.tokens(settings.context) < settings.context:
            arms += [ArmSpec(s, budget) for s in specs] + [ArmSpec(s, budget, True) for s in added]
    return arms


def text_windows(causal: CausalModelProtocol, text: str, settings: Settings) -> list[Tensor]:
    """Windows of ``context + continuation`` tokens, evenly spread, each begun as the model wants it.

    Raises:
        UsageError: lengths that leave nothing to score, or a text that is too short.
    """
    if settings.context < 8 or settings.continuation < 2 or settings.windows < 1:
        raise UsageError(
            f"context={settings.context}, continuation={settings.continuation}, windows={settings.windows}: "
            "at least 8, 2 and 1 are needed"
        )
    limit = getattr(causal.model.config, "max_position_embeddings", None)
    length = settings.context + settings.continuation
    if limit is not None and length > limit:
        raise UsageError(f"context and continuation take {length} tokens, but {causal.name} has {limit} positions")
    start = causal.encode("", start=True)
    body = causal.encode(text, start=False)
    room = length - len(start)
    if len(body) < settings.windows * room:
        raise UsageError(
            f"the text has {len(body)} tokens, fewer than {settings.windows} windows of {room}: give a longer text"
        )
    gap = (len(body) - room) // max(1, settings.windows - 1) if settings.windows > 1 else 0
    return [torch.cat([start, body[i * gap : i * gap + room]]) for i in range(settings.windows)]


def _require_positions(causal: CausalModelProtocol, settings: Settings, probes: list[Probe]) -> None:
    """Refuse what would leave a table of learned positions; rotary models go on, and are timed at any length."""
    limit = getattr(causal.model.config, "max_position_embeddings", None)
    if limit is None or rotary_module(causal.model) is not None:
        return
    lengths = [settings.context + max(settings.greedy, settings.write)]
    # here the last token is read off and never fed
    lengths += [len(p.context) + len(p.question) + len(p.answer) - 1 for p in probes]
    lengths += [context + settings.new_tokens - 1 for _, context in settings.timed]
    needed = max(lengths)
    if needed > limit:
        raise UsageError(f"writing, questions and timing take up to {needed} positions, but {causal.name} has {limit}")


def notes(result: KvResult) -> list[str]:
    """Sentences that a reader of the table should not miss."""
    said = []
    for arm in result.arms:
        if arm.reason:
            said.append(f"{arm.press} at {arm.budget} was not measured: {arm.reason}")
        elif arm.note and not arm.control:
            said.append(
                f"{arm.press} at {arm.budget} is {arm.note} at the same budget ({arm.over_control} nats a token)."
            )
    for arm in result.arms:
        if arm.sizes and arm.sizes.masked_only:
            said.append(f"{arm.press} at {arm.budget} hides tokens and frees no memory: its slots are stored in full.")
        elif arm.sizes and arm.budget != "1" and arm.sizes.full_layers:
            said.append(f"{arm.press} at {arm.budget} leaves layers {_few(arm.sizes.full_layers)} full.")
    lost: dict[tuple[str, str], tuple[int, int]] = {}
    for row in result.needle:
        right, asked = lost.get((row.press, row.budget), (0, 0))
        lost[row.press, row.budget] = (right + row.right, asked + row.asked)
    ceiling = lost.get(("full", "1"), (0, 0))[0]
    for (press, budget), (right, asked) in lost.items():
        dnll = next((a.dnll for a in result.arms if (a.press, a.budget) == (press, budget)), None)
        if press != "full" and dnll and dnll.value < 0.1 and 2 * right < ceiling:
            said.append(
                f"{press} at {budget} finds {right} of {asked} needles (full cache: {ceiling}) though its perplexity "
                f"moved only {100 * (dnll.exp().value - 1):.1f} %: perplexity does not show retrieval."
            )
    return said


def _few(layers: tuple[int, ...]) -> str:
    return ", ".join(map(str, layers[:6])) + (", ..." if len(layers) > 6 else "")


def _protocol(settings: Settings, when: OneShot | Rolling, windows: list[Tensor], text: str) -> dict[str, Any]:
    ids = torch.cat(windows).numpy().tobytes()
    return {
        "when": str(when),
        "positions": when.mode,
        "query_aware": settings.query_aware,
        "context": settings.context,
        "scored_tokens": settings.windows * (settings.continuation - 1),
        "windows": settings.windows,
        "prefill_chunk": settings.chunk,
        "seed": settings.seed,
        "text_sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16],
        "tokens_sha256": hashlib.sha256(ids).hexdigest()[:16],
        "press": settings.press,
        "budgets": list(settings.budgets),
    }


def _environment(causal: CausalModelProtocol) -> dict[str, Any]:
    model = causal.model
    return {
        "model": causal.name,
        "identity": causal.identity,
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": model.config._attn_implementation,
        "device": torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else model.device.type,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("torch", "transformers", "kvpress", "unmask")},
    }
