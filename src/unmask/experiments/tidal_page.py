"""Numbers of the tidal experiments to Markdown pages: the file first, the page from the file alone."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from unmask.core.files import write_json, write_text
from unmask.experiments.study import Page
from unmask.reporting.page import MARKERS, SERIES, figure_svg, plot


def made_with() -> dict[str, str]:
    """Device and versions, for a results file."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {"device": device, "torch": torch.__version__, "python": platform.python_version()}


def folder_of(arm: str) -> str:
    """An arm's name as that of a folder."""
    return arm.replace(", ", "_").replace(" ", "_")


def publish(
    name: str, results: Mapping[str, Any], page: Callable[[Mapping[str, Any]], Page], numbers: Path, pages: Path
) -> Path:
    """Write ``numbers/experiment_NAME.json`` and rewrite ``pages/NAME.md`` with its drawings from it.

    Returns:
        the page's path.
    """
    os.makedirs(numbers, exist_ok=True)
    write_json(numbers / f"experiment_{name}.json", dict(results))
    made = page(results)
    for drawing, svg in made.drawings.items():
        write_text(pages / "img" / f"{drawing}.svg", svg)
    write_text(pages / f"{name}.md", made.markdown())
    return pages / f"{name}.md"


def lines(series: Mapping[str, tuple[list[float], list[float]]], x: str, y: str, alt: str, *, log: bool = False) -> Any:
    """A drawing of named lines, each (x, y)."""
    with plot() as (figure, axes):
        for i, (name, (xs, ys)) in enumerate(series.items()):
            axes.plot(xs, ys, marker=MARKERS[i % len(MARKERS)], color=SERIES[i % len(SERIES)], label=name)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if log:
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        return figure_svg(figure, alt)


def percent(share: Mapping[str, float]) -> str:
    """``99.1 [98.4, 99.5]``"""
    return f"{100 * share['exact']:.1f} [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"
