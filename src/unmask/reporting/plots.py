"""The drawings of an evaluation, each as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from unmask.evaluation.likelihood import RatioProfile
from unmask.metrics.bootstrap import Interval
from unmask.metrics.length import length_histogram
from unmask.reporting.page import MARKERS, SERIES, figure_svg, plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: where r = 1 is drawn: apart from the bins, because it is a state and not a range
_ALONE = 1.06


def ratio_plot(profile: RatioProfile, lines: Mapping[str, Sequence[Interval]], ylabel: str, alt: str) -> Markup:
    """Values by mask ratio with their intervals; r = 1 stands apart at the right.

    Args:
        profile: gives the bins.
        lines: name -> one interval a bin.
        ylabel: with its unit.
        alt: for readers who cannot see it.
    """
    with plot() as (figure, axes):
        for i, (name, intervals) in enumerate(lines.items()):
            # side by side, so that the intervals of one bin do not hide each other
            aside = 0.009 * (i - (len(lines) - 1) / 2)
            places = [x + aside for x in (*profile.middles()[:-1], _ALONE)]
            _line(axes, places, intervals, name, SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)])
        axes.set_xlabel("masked fraction r")
        axes.set_ylabel(ylabel)
        axes.set_xlim(0, 1.12)
        axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, _ALONE], ["0", "0.2", "0.4", "0.6", "0.8", "r = 1"])
        axes.set_ylim(bottom=0)
        if len(lines) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0)
        return figure_svg(figure, alt)


def _line(axes: Axes, x: Sequence[float], intervals: Sequence[Interval], name: str, colour: str, marker: str) -> None:
    at = np.array(x)
    value = np.array([i.value for i in intervals])
    # no interval (a single text): an error bar of nothing
    reach = np.nan_to_num([[i.value - i.low, i.high - i.value] for i in intervals]).clip(min=0).T
    seen = ~np.isnan(value)
    seen[-1] = False
    bars: Any = {"color": colour, "marker": marker, "capsize": 2, "elinewidth": 1}
    axes.errorbar(at[seen], value[seen], reach[:, seen], label=name, **bars)
    if not np.isnan(value[-1]):
        axes.errorbar(at[-1:], value[-1:], reach[:, -1:], linestyle="none", **bars)


def length_plot(lengths_N: NDArray[np.int64], data_lengths_M: NDArray[np.int64], unit: str) -> Markup:
    """Share of texts by length, generated and data."""
    longest = int(max(lengths_N.max(), data_lengths_M.max()))
    width = max(1, (longest + 1) // 32)
    with plot(height=2.8) as (figure, axes):
        for lengths, name, colour, dash in (
            (data_lengths_M, "data", SERIES[1], "--"),
            (lengths_N, "generated", SERIES[0], "-"),
        ):
            share = length_histogram(lengths, longest)
            share = np.pad(share, (0, -len(share) % width)).reshape(-1, width).sum(1)
            edges = np.arange(len(share) + 1) * width - 0.5
            axes.stairs(100 * share, edges, label=name, color=colour, linestyle=dash, linewidth=1.8)
        axes.set_xlabel(f"length, {unit}" + (f" (in bins of {width})" if width > 1 else ""))
        axes.set_ylabel("texts, %")
        axes.set_ylim(bottom=0)
        axes.legend()
        return figure_svg(figure, "Histogram of text lengths, generated against data")
