"""Plots of a result as inline SVG that follows the page's colours (light or dark)."""

from __future__ import annotations

import hashlib
import io
import re
from typing import Any

from unmask.kvcache.result import KvResult

#: stands for the page's text colour until the SVG is inlined
_INK = "#010203"
_COLOURS = (
    "#3b82d6",
    "#d9633b",
    "#3f9e5f",
    "#a35bc4",
    "#b8901f",
    "#2aa3a3",
    "#c4477f",
    "#7a7f87",
    "#6b8e23",
    "#8a5a3c",
)


def plots(result: KvResult) -> list[tuple[str, str]]:
    """(caption, SVG) for quality against bytes, loss by position, needle by depth, and latency, where measured."""
    made = [
        (
            "Quality against memory: change of the loss (nats a token, 95 % interval) at the bytes really held.",
            _quality,
        ),
        ("Loss by distance from the context: change against the full cache on the same tokens.", _by_position),
        ("Needle by depth: share found, the full cache as the ceiling.", _needle),
        ("Time to the first token (compression included) and per further token, medians with quartiles.", _latency),
    ]
    return [(caption, svg) for caption, draw in made if (svg := draw(result))]


def _axes() -> tuple[Any, Any]:
    # no pyplot: it would pick a window system and keep figures alive
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    return figure, axes


def _finish(figure: Any) -> str:
    import matplotlib

    for axes in figure.axes:
        axes.patch.set_alpha(0)
        axes.grid(alpha=0.25, color=_INK)
        axes.tick_params(colors=_INK)
        for item in (axes.xaxis.label, axes.yaxis.label, axes.title):
            item.set_color(_INK)
        for side in axes.spines.values():
            side.set_color(_INK)
        legend = axes.get_legend()
        if legend is not None:
            legend.get_frame().set_alpha(0)
            for text in legend.get_texts():
                text.set_color(_INK)
    figure.patch.set_alpha(0)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "unmask", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    # the page decides the width; ids must not clash between the plots of one page
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
    tag = f"p{hashlib.sha256(svg.encode()).hexdigest()[:8]}"
    return re.sub(r'(id="|href="#|url\(#)', rf"\1{tag}", svg)


def _colour(result: KvResult) -> dict[str, str]:
    names = list(dict.fromkeys(a.press for a in result.arms))
    return {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}


def _quality(result: KvResult) -> str:
    figure, axes = _axes()
    colours = _colour(result)
    for press in colours:
        arms = [a for a in result.arms if a.press == press and a.dnll is not None and a.sizes is not None]
        if not arms:
            continue
        x = [a.sizes.bytes / 2**20 for a in arms if a.sizes]
        y = [a.dnll.value for a in arms if a.dnll]
        low = [max(0.0, a.dnll.value - a.dnll.low) if a.dnll.low == a.dnll.low else 0.0 for a in arms if a.dnll]
        high = [max(0.0, a.dnll.high - a.dnll.value) if a.dnll.high == a.dnll.high else 0.0 for a in arms if a.dnll]
        style = "--" if arms[0].control else "-"
        axes.errorbar(
            x, y, yerr=[low, high], marker="o", ls=style, lw=1.3, ms=4, capsize=2, color=colours[press], label=press
        )
    axes.axhline(0, color=_INK, lw=0.8)
    axes.set_xlabel("KV cache, MiB (measured)")
    axes.set_ylabel("change of loss, nats a token")
    axes.legend(fontsize=8, ncols=2)
    return _finish(figure)


def _by_position(result: KvResult) -> str:
    arms = [a for a in result.arms if a.dnll_by_position and a.press != "full"]
    if not arms:
        return ""
    figure, axes = _axes()
    colours = _colour(result)
    least = min(arms, key=lambda a: a.sizes.slots[0] if a.sizes else 0).budget
    for arm in (a for a in arms if a.budget == least):
        axes.plot(
            range(1, len(arm.dnll_by_position) + 1), arm.dnll_by_position, marker="o", ms=4, lw=1.3,
            ls="--" if arm.control else "-", color=colours[arm.press], label=arm.press,
        )  # fmt: skip
    axes.axhline(0, color=_INK, lw=0.8)
    axes.set_xlabel(f"eighths of the continuation, at keep {least}")
    axes.set_ylabel("change of loss, nats a token")
    axes.legend(fontsize=8, ncols=2)
    return _finish(figure)


def _needle(result: KvResult) -> str:
    if not result.needle:
        return ""
    figure, axes = _axes()
    colours = {"full": _INK, **_colour(result)}
    colours["full"] = _INK
    least = result.needle[-1].budget
    for press in dict.fromkeys(r.press for r in result.needle):
        rows = [r for r in result.needle if r.press == press and r.budget in (least, "1")]
        if rows:
            axes.plot([r.depth for r in rows], [r.right / r.asked for r in rows], marker="o", ms=4, lw=1.3,
                      color=colours.get(press, _INK), label=press)  # fmt: skip
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel(f"depth in the context (0 is the start), at keep {least}")
    axes.set_ylabel("share found")
    axes.legend(fontsize=8, ncols=2)
    return _finish(figure)


def _latency(result: KvResult) -> str:
    if result.timing is None or not result.timing.rows:
        return ""
    figure, axes = _axes()
    rows = result.timing.rows
    names = [f"{r.press} {r.budget}\n{r.batch} x {r.context}" for r in rows]
    for offset, (spreads, label, colour) in enumerate(
        [([r.ttft_ms for r in rows], "TTFT", _COLOURS[0]), ([r.tpot_ms for r in rows], "TPOT", _COLOURS[1])]
    ):
        x = [i + 0.2 * (2 * offset - 1) for i in range(len(rows))]
        errors = [[s.median - s.q1 for s in spreads], [s.q3 - s.median for s in spreads]]
        axes.bar(x, [s.median for s in spreads], 0.38, yerr=errors, color=colour, ecolor=_INK, label=label)
    axes.set_yscale("log")
    axes.set_xticks(range(len(rows)), names, fontsize=7)
    axes.set_ylabel("milliseconds")
    axes.legend(fontsize=8)
    return _finish(figure)
