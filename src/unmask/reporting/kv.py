"""The result of a KV-compression bench: one page without scripts, and its tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.table import Table as RichTable

from unmask.kvcache.result import Arm, BlockBootstrapInterval, KvResult, ProbeRow, Spread
from unmask.reporting.kv_plots import plots
from unmask.reporting.page import PageBlock, PageTable, Section, Text, render_page

_DASH = "\u2013"


def page(result: KvResult) -> str:
    """The page of a KV benchmark as self-contained HTML; every text in it is escaped."""
    protocol = result.protocol
    lead = (
        f"{protocol['when']}; {protocol['scored_tokens']} tokens scored behind contexts of {protocol['context']}; "
        f"perplexity with the full cache {result.standard_ppl.value:.2f}. "
        f"All {len(result.checks)} self-checks passed."
    )
    measured: list[PageBlock] = [quality(result), *plots(result)]
    sections = [Section("What not to miss", [Text(note) for note in result.notes])] if result.notes else []
    sections.append(Section("Quality on the same tokens", measured))
    for title, rows in (("Needle", result.needle), ("Long-context set", result.longset)):
        if rows:
            sections.append(Section(title, [_answers(title, rows)]))
    if result.timing is not None:
        sections.append(Section("Cost", [cost(result)]))
    pairs = [(key, str(value)) for group in (protocol, result.environment) for key, value in group.items()]
    found = [(c.name, f"{'passed' if c.passed else 'FAILED'}: {c.detail}", c.pitfall) for c in result.checks]
    checks = PageTable("Self-checks", ("check", "found", "what it would have caught"), found, align="lll")
    sections.append(
        Section("Protocol", [PageTable("How it was measured", ("setting", "value"), pairs, align="ll"), checks])
    )
    return render_page(f"KV-cache compression: {result.environment['model']}", sections, subtitle=lead)


def tables(result: KvResult) -> list[Parts]:
    """Rich tables: quality, retrieval, cost. What was not measured says so."""
    made = [quality(result)]
    if result.needle:
        made.append(_matrix("needle: right of asked", result.needle, by_depth=True))
    if result.longset:
        made.append(_matrix("long-context set: right of asked", result.longset, by_depth=False))
    if result.timing is not None:
        made.append(cost(result))
    return [Parts(table) for table in made]


def percent(interval: BlockBootstrapInterval | None) -> str:
    """A change of perplexity from a difference in nats."""
    return "not measured" if interval is None else f"{100 * (interval.exp().value - 1):+.1f} %"


def size(count: int | None) -> str:
    """A number of bytes in a readable unit."""
    if count is None:
        return "not measured"
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def span(pair: tuple[int, int]) -> str:
    """A range as text: one number where both ends agree, else least and most."""
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}-{pair[1]}"


def quartiles(spread: Spread, digits: int = 1) -> str:
    """``median [q1, q3]``."""
    return f"{spread.median:.{digits}f} [{spread.q1:.{digits}f}, {spread.q3:.{digits}f}]"


@dataclass
class Parts:
    """A table that a narrow terminal gets in parts side by side, the first two columns repeated, never folded."""

    table: PageTable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        table = self.table
        # a cell costs its text, two blanks and a border
        wide = [3 + max(map(cell_len, column)) for column in zip(table.columns, *table.rows, strict=True)]
        left, rest = [0, 1], list(range(2, len(table.columns)))
        first = True
        while rest:
            part = [rest.pop(0)]
            while rest and 1 + sum(wide[c] for c in [*left, *part, rest[0]]) <= options.max_width:
                part.append(rest.pop(0))
            shown = RichTable(title=table.title if first else None, title_justify="left")
            for c in [*left, *part]:
                shown.add_column(table.columns[c], justify="left" if c == 0 else "right", overflow="fold")
            for i, row in enumerate(table.rows):
                shown.add_row(*(row[c] for c in [*left, *part]), style="dim" if i in table.dim else None)
            yield shown
            first = False


def quality(result: KvResult) -> PageTable:
    """Every arm on the same tokens."""
    title = (
        f"{result.environment['model']}: {result.protocol['when']}, {result.protocol['scored_tokens']} tokens scored"
    )
    columns = ["press", "keep", "slots", "KV bytes", "PPL", "full PPL", "change", "dNLL nats [95 %]"]
    columns += ["over random + sinks", "KL", "top-1 agree", "next right (full)", "greedy match"]
    columns += ["writes: nats / H / rep-4"]
    rows = [
        [f"{arm.press} (control)" if arm.control else arm.press, arm.budget, *_measured(arm, len(columns) - 2)]
        for arm in result.arms
    ]
    note = (
        "Slots are what each layer really stores, least to most. dNLL is paired on the same tokens; the interval "
        'resamples blocks of 32 tokens. "Writes" is the arm\'s own continuation scored by the full model; low nats '
        "with low entropy H or high repetition is no quality."
    )
    dim = [i for i, arm in enumerate(result.arms) if arm.control or arm.sizes is None]
    return _table(title, columns, rows, note=note, dim=dim)


def _measured(arm: Arm, width: int) -> list[str]:
    if arm.reason is not None or arm.ppl is None or arm.full_ppl is None or arm.sizes is None:
        return ["not measured", *[""] * (width - 1)]
    wrote = arm.generation
    return [
        span(arm.sizes.slots) + (" hidden" if arm.sizes.masked_only else ""),
        size(arm.sizes.bytes),
        f"{arm.ppl.value:.2f}",
        f"{arm.full_ppl.value:.2f}",
        percent(arm.dnll),
        str(arm.dnll),
        str(arm.over_control or _DASH),
        f"{arm.kl:.4f}",
        f"{arm.agreement:.3f}",
        f"{arm.accuracy:.3f} ({arm.full_accuracy:.3f})",
        "not measured" if arm.greedy_match is None else f"{arm.greedy_match:.1f}/{arm.greedy_limit}",
        "not measured" if wrote is None else f"{wrote.nats:.2f} / {wrote.entropy:.2f} / {wrote.repetition:.2f}",
    ]


def _matrix(title: str, rows: list[ProbeRow], by_depth: bool) -> PageTable:
    heads = sorted({r.depth if by_depth else r.task for r in rows}, key=str)
    columns = ["press", "keep", *[f"depth {h:g}" if by_depth else str(h) for h in heads], "all"]
    found = []
    for press, budget in dict.fromkeys((r.press, r.budget) for r in rows):
        mine = [r for r in rows if (r.press, r.budget) == (press, budget)]
        here = [[r for r in mine if (r.depth if by_depth else r.task) == head] for head in heads]
        cells = [f"{sum(r.right for r in part)}/{sum(r.asked for r in part)}" for part in [*here, mine]]
        found.append([press, budget, *cells])
    return _table(title, columns, found)


def _answers(title: str, rows: list[ProbeRow]) -> PageTable:
    columns = ("press", "keep", "task", "depth", "right", "asked", "nats a token of the answer")
    found = [
        (r.press, r.budget, r.task, _DASH if r.depth is None else f"{r.depth:.2f}", str(r.right), str(r.asked))
        + (f"{r.nats:.3f}",)
        for r in rows
    ]
    return _table(title, columns, found)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], **more: Any) -> PageTable:
    """Names at the left, numbers at the right."""
    return PageTable(title, columns, rows, align="n" + "r" * (len(columns) - 1), **more)


def cost(result: KvResult) -> PageTable:
    """Times and bytes of every arm that could be timed."""
    timing = result.timing
    assert timing is not None
    title = (
        f"cost, median of {timing.repeats} warm runs; two runs of the same arm differ by "
        f"{100 * timing.noise_ttft:.1f} % (TTFT) and {100 * timing.noise_tpot:.1f} % (TPOT): less says nothing"
    )
    columns = ["press", "keep", "batch x context", "TTFT ms [quartiles]", "cold TTFT ms (turn)", "TPOT ms [quartiles]"]
    columns += ["ITL ms [quartiles]", "tokens/s", "peak", "KV bytes", "slots"]
    rows = [
        [
            row.press,
            row.budget,
            f"{row.batch} x {row.context}",
            quartiles(row.ttft_ms, 0),
            f"{row.cold_ms:.0f} ({row.cold_order})",
            quartiles(row.tpot_ms),
            quartiles(row.itl_ms),
            f"{row.tokens_per_s:.1f}",
            size(row.peak_bytes),
            size(row.cache_bytes),
            span(row.slots),
        ]
        for row in timing.rows
    ]
    note = f"Arms take turns; the first, cold run is apart, with its turn. {timing.peak_note}."
    return _table(title, columns, rows, note=note)
