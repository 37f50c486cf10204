"""Drawings of the result of a KV-compression bench, each as inline SVG."""

from __future__ import annotations

from typing import Any

from unmask.kvcache.result import KvResult
from unmask.reporting.page import INK, MARKERS, SERIES, Figure, figure_svg, plot


def plots(result: KvResult) -> list[Figure]:
    """Quality against bytes, loss by position, needle by depth, and latency, where measured."""
    made = [
        (
            "Quality against memory: change of the loss (nats a token, 95 % interval) at the bytes really held.",
            _quality,
            True,
        ),
        (
            "Loss by distance from the context: change against the full cache on the same tokens.",
            _by_position,
            any(a.dnll_by_position and a.press != "full" for a in result.arms),
        ),
        ("Needle by depth: share found, the full cache as the ceiling.", _needle, bool(result.needle)),
        (
            "Time to the first token (compression included) and per further token, medians with quartiles.",
            _latency,
            result.timing is not None and bool(result.timing.rows),
        ),
    ]
    figures = []
    for caption, draw, there in made:
        if there:
            with plot(7, 3.6) as (figure, axes):
                draw(axes, result)
                axes.legend(fontsize=8, ncols=2)
                figures.append(Figure(figure_svg(figure, caption), caption))
    return figures


def _style(result: KvResult, press: str) -> dict[str, Any]:
    """Colour and marker of a press: its own among twenty-five."""
    if press == "full":
        return {"color": INK, "marker": "o"}
    i = list(dict.fromkeys(a.press for a in result.arms)).index(press)
    return {"color": SERIES[i % len(SERIES)], "marker": MARKERS[(i + i // len(SERIES)) % len(MARKERS)]}


def _quality(axes: Any, result: KvResult) -> None:
    for press in dict.fromkeys(a.press for a in result.arms):
        arms = [a for a in result.arms if a.press == press]
        found = [(a.sizes.bytes / 2**20, a.dnll) for a in arms if a.sizes is not None and a.dnll is not None]
        if not found:
            continue
        # NaN (too little to resample) is no bar: max gives the 0 that stands first
        reach = [[max(0.0, d.value - d.low) for _, d in found], [max(0.0, d.high - d.value) for _, d in found]]
        axes.errorbar(
            [x for x, _ in found],
            [d.value for _, d in found],
            reach,
            linestyle="--" if arms[0].control else "-",
            capsize=2,
            label=press,
            **_style(result, press),
        )
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xlabel("KV cache, MiB (measured)")
    axes.set_ylabel("change of loss, nats a token")


def _by_position(axes: Any, result: KvResult) -> None:
    arms = [a for a in result.arms if a.dnll_by_position and a.press != "full"]
    least = min(arms, key=lambda a: a.sizes.slots[0] if a.sizes else 0).budget
    for arm in (a for a in arms if a.budget == least):
        places = range(1, len(arm.dnll_by_position) + 1)
        line = "--" if arm.control else "-"
        axes.plot(places, arm.dnll_by_position, linestyle=line, label=arm.press, **_style(result, arm.press))
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xlabel(f"eighths of the continuation, at keep {least}")
    axes.set_ylabel("change of loss, nats a token")


def _needle(axes: Any, result: KvResult) -> None:
    least = result.needle[-1].budget
    for press in dict.fromkeys(r.press for r in result.needle):
        rows = [r for r in result.needle if r.press == press and r.budget in (least, "1")]
        if rows:
            found = [r.right / r.asked for r in rows]
            axes.plot([r.depth for r in rows], found, label=press, **_style(result, press))
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel(f"depth in the context (0 is the start), at keep {least}")
    axes.set_ylabel("share found")


def _latency(axes: Any, result: KvResult) -> None:
    assert result.timing is not None
    rows = result.timing.rows
    for side, spreads, label, colour in (
        (-1, [r.ttft_ms for r in rows], "TTFT", SERIES[0]),
        (1, [r.tpot_ms for r in rows], "TPOT", SERIES[1]),
    ):
        x = [i + 0.2 * side for i in range(len(rows))]
        errors = [[s.median - s.q1 for s in spreads], [s.q3 - s.median for s in spreads]]
        axes.bar(x, [s.median for s in spreads], 0.38, yerr=errors, color=colour, ecolor=INK, label=label)
    axes.set_yscale("log")
    axes.set_xticks(range(len(rows)), [f"{r.press} {r.budget}\n{r.batch} x {r.context}" for r in rows], fontsize=7)
    axes.set_ylabel("milliseconds")
