"""What the experiments share: how much effort, results on disk, and pages that hold no number of their own.

An experiment is a module with ``measure(effort, results, keep, say)``, which fills a dictionary, and ``page(results)``,
which turns that dictionary into Markdown and drawings. :func:`run` writes the dictionary as JSON, reads it back and
rewrites the page from the file.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup

from unmask.core.errors import UsageError, did_you_mean
from unmask.core.files import write_json, write_text
from unmask.reporting.page import GRID, INK, MUTED, SERIES

#: name -> what it shows
STUDIES = {
    "sudoku": "Sudoku: orders of unmasking against causal baselines",
    "zebra": "Zebra puzzles: orders of unmasking against causal baselines",
    "nae_sat": "Latents and observations: where the hard subproblems are",
    "order_learners": "Likelihood of text learned in permuted orders",
    "frontier": "Generated text: perplexity against entropy by order and steps",
    "sgdd_parts": "SGDD: each of its parts on and off",
    "paraphrase": "SGDD, phase 2: paraphrase against copying, and verified against a predicted vector",
    "beyond": "Sudoku beyond the paper: what else an inference budget can buy",
}
SCALES = ("cpu", "paper")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How much to train and to measure.

    Attributes:
        scale: ``cpu`` (at most ~3M parameters) or ``paper`` (the paper's sizes; needs a GPU).
        minutes: of training an arm, in this command; a later command goes on. None: to the arm's end.
        steps: optimiser steps an arm; the scale's own when None. batch: rows a step, likewise.
        boards: boards (or texts) that are measured.
        arms: which; all when empty. tests: which test sets (of nae_sat: which "N,P"); all when empty.
        start_from: folder of a trained model that the experiment starts from; the experiment's own when None.
        device: where.
        runs: folder of checkpoints.
        progress: show a bar.
    """

    scale: str = "cpu"
    minutes: float | None = None
    steps: int | None = None
    batch: int | None = None
    boards: int = 500
    arms: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    start_from: str | None = None
    device: str = "cpu"
    runs: Path = Path("runs/experiments")
    progress: bool = False

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise UsageError(f"scale={self.scale!r} must be one of {', '.join(SCALES)}")
        if self.boards < 1:
            raise UsageError(f"boards={self.boards} must be at least 1")
        for name in ("steps", "batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name}={value} must be at least 1")
        if self.minutes is not None and not self.minutes >= 0:
            raise UsageError(f"minutes={self.minutes} must be 0 or more: 0 measures what is trained already")

    def only(self, *uses: str) -> None:
        """Refuse what an experiment would ignore.

        Args:
            uses: which of ``minutes``, ``steps``, ``batch``, ``tests`` and ``start_from`` it heeds.

        Raises:
            UsageError: another of them is given.
        """
        flags = {"minutes": "minutes", "steps": "steps", "batch": "batch", "tests": "test", "start_from": "start-from"}
        for name, flag in flags.items():
            if name not in uses and getattr(self, name) not in (None, ()):
                raise UsageError(f"--{flag} has no effect on this experiment")

    def chosen(self, arms: Sequence[str]) -> list[str]:
        """The arms that are run, in the experiment's order.

        Raises:
            UsageError: one that the experiment does not have.
        """
        return _chosen("arm", self.arms, arms)

    def chosen_tests(self, tests: Sequence[str]) -> list[str]:
        """The test sets that are measured, likewise."""
        return _chosen("test set", self.tests, tests)


def _chosen(kind: str, wanted: Sequence[str], known: Sequence[str]) -> list[str]:
    for name in wanted:
        if name not in known:
            raise UsageError(f"no {kind} is called {name!r}: {did_you_mean(name, known)}")
    return [name for name in known if name in wanted or not wanted]


@dataclass
class Page:
    """Markdown and the drawings beside it."""

    parts: list[str] = field(default_factory=list)
    drawings: dict[str, str] = field(default_factory=dict)

    def text(self, *lines: str) -> None:
        """A paragraph, a heading or a list."""
        self.parts.append("\n".join(lines))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; the first column to the left, numbers to the right."""
        head = ["| " + " | ".join(columns) + " |", "|---" + "|---:" * (len(columns) - 1) + "|"]
        self.parts.append("\n".join(head + ["| " + " | ".join(row) + " |" for row in rows]))

    def drawing(self, name: str, svg: Markup, alt: str) -> None:
        """A drawing in its own file."""
        self.drawings[name] = standalone(svg)
        self.parts.append(f"![{alt}](img/{name}.svg)")

    def markdown(self) -> str:
        return "\n\n".join(self.parts) + "\n"


def standalone(svg: Markup) -> str:
    """A drawing of a page as a file of its own, in colours that read on white and on black."""
    names = {INK: "ink", MUTED: "muted", GRID: "grid"} | {c: f"series-{i}" for i, c in enumerate(SERIES, 1)}
    colours = {"ink": "#767676", "muted": "#767676", "grid": "#76767640"}
    colours |= dict(zip([f"series-{i}" for i in range(1, 6)], _COLOURS, strict=True))
    text = re.sub(r"var\(--([a-z0-9-]+)\)", lambda m: colours[m[1]], str(svg))
    assert set(names.values()) == set(colours)
    return text.replace("<svg ", '<svg font-family="sans-serif" ', 1) + "\n"


#: of the series, in order (Okabe & Ito's palette, told apart by colour-blind readers)
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b")


def study(name: str) -> Any:
    """The module of an experiment.

    Raises:
        UsageError: no such experiment.
    """
    if name not in STUDIES:
        raise UsageError(f"no experiment is called {name!r}: {did_you_mean(name, STUDIES)}")
    return importlib.import_module(f"unmask.experiments.{name}")


def run(name: str, effort: Effort, *, out: Path, pages: Path, say: Say = print) -> Path:
    """Train, measure, write ``out/experiment_NAME.json`` and rewrite ``pages/NAME.md`` from it.

    Results of the other scale, and of arms that were not run now, stay as they are in the file.

    Args:
        name: out of :data:`STUDIES`.
        effort: how much.
        out: folder of the JSON. pages: folder of the page.
        say: where one-line reports go.

    Returns:
        the page's path.
    """
    module = study(name)
    file = results_file(name, out)
    results: dict[str, Any] = read_results(file) if file.is_file() else {"experiment": name, "scales": {}}
    mine = results["scales"].setdefault(effort.scale, {})

    def keep() -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, results)

    module.measure(effort, mine, keep, say)
    mine["versions"] = {"torch": torch.__version__.split("+")[0]}
    keep()
    return rewrite(name, out=out, pages=pages)


def rewrite(name: str, *, out: Path, pages: Path) -> Path:
    """The page from the JSON file alone.

    Raises:
        UsageError: there is no file yet.
    """
    file = results_file(name, out)
    if not file.is_file():
        raise UsageError(f"{file} does not exist yet: run `unmask experiment {name}` first")
    page: Page = study(name).page(read_results(file))
    for drawing, svg in page.drawings.items():
        write_text(pages / "img" / f"{drawing}.svg", svg)
    write_text(pages / f"{name}.md", page.markdown())
    return pages / f"{name}.md"


def results_file(name: str, out: Path) -> Path:
    """Where an experiment's numbers stand."""
    return out / f"experiment_{name}.json"


def read_results(file: Path) -> dict[str, Any]:
    """A results file.

    Raises:
        UsageError: it is no such file.
    """
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        scales: Mapping[str, Any] = results["scales"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} is no results file ({error}): delete it and run the experiment again") from error
    return {**results, "scales": dict(scales)}


def training_line(record: Mapping[str, Any], parameters: int) -> str:
    """One sentence on how an arm was trained, from what :func:`unmask.experiments.puzzle_training.record` kept."""
    left = "" if record["steps_done"] == record["steps"] else f" (of {record['steps']:,} planned: **stopped early**)"
    return (
        f"{parameters:,} parameters, {record['boards']:,} rows in {record['steps_done']:,} steps of "
        f"{record['batch']}{left}, "
        f"{record['minutes']:g} minutes on {record['device']}; {record['optimizer']}, seed {record['seed']}"
    )
