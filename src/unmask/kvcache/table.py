"""The result as tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from unmask.kvcache.result import Interval, KvResult, ProbeRow


def tables(result: KvResult) -> list[Grid]:
    """Rich tables: quality, retrieval, cost. What was not measured says so."""
    made = [_quality(result)]
    for title, rows in (
        ("needle: right of asked", result.needle),
        ("long-context set: right of asked", result.longset),
    ):
        if rows:
            made.append(_probes(title, rows, by_depth=title.startswith("needle")))
    if result.timing is not None:
        made.append(_cost(result))
    return made


def percent(interval: Interval | None) -> str:
    """A change of perplexity from a difference in nats."""
    return "not measured" if interval is None else f"{100 * (interval.exp().value - 1):+.1f} %"


def size(count: int | None) -> str:
    """Bytes for people."""
    if count is None:
        return "not measured"
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def span(pair: tuple[int, int]) -> str:
    """One number, or least and most."""
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}-{pair[1]}"


@dataclass
class Grid:
    """A table that a narrow terminal gets in parts side by side, the first two columns repeated, never folded."""

    title: str
    columns: list[str]
    rows: list[tuple[list[str], str | None]] = field(default_factory=list)

    def add_row(self, *cells: str, style: str | None = None) -> None:
        self.rows.append(([*cells, *[""] * (len(self.columns) - len(cells))], style))

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.cells import cell_len
        from rich.table import Table

        # a cell costs its text, two blanks and a border
        wide = [3 + max(map(cell_len, column)) for column in zip(self.columns, *(r for r, _ in self.rows), strict=True)]
        left, rest = [0, 1], list(range(2, len(self.columns)))
        first = True
        while rest:
            part = [rest.pop(0)]
            while rest and 1 + sum(wide[c] for c in [*left, *part, rest[0]]) <= options.max_width:
                part.append(rest.pop(0))
            table = Table(title=self.title if first else None, title_justify="left")
            for c in [*left, *part]:
                table.add_column(self.columns[c], justify="left" if c == 0 else "right", overflow="fold")
            for cells, style in self.rows:
                table.add_row(*(cells[c] for c in [*left, *part]), style=style)
            yield table
            first = False


def _quality(result: KvResult) -> Grid:
    title = (
        f"{result.environment['model']}: {result.protocol['when']}, {result.protocol['scored_tokens']} tokens scored"
    )
    columns = ["press", "keep", "slots", "KV bytes", "PPL", "full PPL", "dNLL nats [95 %]", "KL", "top-1 agree"]
    columns += ["next right", "greedy match", "writes: nats / H / rep-4"]
    table = Grid(title, columns)
    for arm in result.arms:
        name = f"{arm.press} (control)" if arm.control else arm.press
        if arm.reason is not None or arm.ppl is None or arm.full_ppl is None or arm.sizes is None:
            table.add_row(name, arm.budget, "not measured", style="dim")
            continue
        wrote = arm.generation
        table.add_row(
            name,
            arm.budget,
            span(arm.sizes.slots) + (" hidden" if arm.sizes.masked_only else ""),
            size(arm.sizes.bytes),
            f"{arm.ppl.value:.2f}",
            f"{arm.full_ppl.value:.2f}",
            str(arm.dnll),
            f"{arm.kl:.4f}",
            f"{arm.agreement:.3f}",
            f"{arm.accuracy:.3f}",
            "not measured" if arm.greedy_match is None else f"{arm.greedy_match:.1f}/{arm.greedy_limit}",
            "not measured" if wrote is None else f"{wrote.nats:.2f} / {wrote.entropy:.2f} / {wrote.repetition:.2f}",
            style="dim" if arm.control else None,
        )
    return table


def _probes(title: str, rows: list[ProbeRow], by_depth: bool) -> Grid:
    heads = sorted({r.depth if by_depth else r.task for r in rows}, key=str)
    table = Grid(title, ["press", "keep", *[f"depth {h:g}" if by_depth else str(h) for h in heads], "all"])
    arms = list(dict.fromkeys((r.press, r.budget) for r in rows))
    for press, budget in arms:
        mine = [r for r in rows if (r.press, r.budget) == (press, budget)]
        cells = []
        for head in heads:
            here = [r for r in mine if (r.depth if by_depth else r.task) == head]
            cells.append(f"{sum(r.right for r in here)}/{sum(r.asked for r in here)}")
        cells.append(f"{sum(r.right for r in mine)}/{sum(r.asked for r in mine)}")
        table.add_row(press, budget, *cells)
    return table


def _cost(result: KvResult) -> Grid:
    timing = result.timing
    assert timing is not None
    title = (
        f"cost, median of {timing.repeats} warm runs; two runs of the same arm differ by "
        f"{100 * timing.noise_ttft:.1f} % (TTFT) and {100 * timing.noise_tpot:.1f} % (TPOT): less says nothing"
    )
    columns = ["press", "keep", "batch x context", "TTFT ms [quartiles]", "cold TTFT ms (turn)", "TPOT ms"]
    table = Grid(title, [*columns, "ITL ms [quartiles]", "tokens/s", "peak", "KV bytes"])
    for row in timing.rows:
        table.add_row(
            row.press,
            row.budget,
            f"{row.batch} x {row.context}",
            f"{row.ttft_ms.median:.0f} [{row.ttft_ms.q1:.0f}, {row.ttft_ms.q3:.0f}]",
            f"{row.cold_ms:.0f} ({row.cold_order})",
            f"{row.tpot_ms.median:.1f}",
            f"{row.itl_ms.median:.1f} [{row.itl_ms.q1:.1f}, {row.itl_ms.q3:.1f}]",
            f"{row.tokens_per_s:.1f}",
            size(row.peak_bytes),
            size(row.cache_bytes),
        )
    return table
