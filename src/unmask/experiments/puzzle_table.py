"""The table of Sudoku and of Zebra: arms trained alike, ways of decoding, the paper's numbers beside ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unmask.data.puzzles import PUZZLES, PuzzleBatch
from unmask.evaluation.page import MARKERS, SERIES, figure_svg, plot
from unmask.experiments.puzzle_arm import CausalShape, CausalSolver
from unmask.experiments.puzzle_model import Card, PuzzleDenoiser, Shape, save
from unmask.experiments.puzzle_solving import measure as measure_ways
from unmask.experiments.puzzle_solving import percent, ways
from unmask.experiments.puzzle_training import Run, record, train
from unmask.experiments.study import Effort, Page, Say, training_line

#: masked diffusion with and without relations, then the causal baselines
ARMS = ("relations", "plain", "causal raster", "causal solver")
ARM_TITLES = {
    "relations": "Structure-aware: masked diffusion with relations",
    "plain": "Plain: masked diffusion that must learn the units by itself",
    "causal raster": "Causal baseline without order (plain)",
    "causal solver": "Causal baseline in solver order (plain)",
}


@dataclass(frozen=True)
class PuzzleStudy:
    """What makes one puzzle's study.

    Attributes:
        name, title: of the experiment.
        tests: (scale, boards, say) -> test set by name.
        training_set: (scale, ordered, say) -> shards.
        decoding_steps: of the ways with steps.
        shapes, causal, steps, batch: by scale.
        paper: rows of the paper's table: name, ARM without order, ARM in solver order, vanilla, top-prob, margin.
        about: a paragraph on the boards.
        plotted: the test set that the drawing shows; the first one where a scale lacks it.
    """

    name: str
    title: str
    tests: Callable[[str, int, Say], dict[str, PuzzleBatch]]
    training_set: Callable[[str, bool, Say], Any]
    decoding_steps: int
    shapes: Mapping[str, Shape]
    causal: Mapping[str, CausalShape]
    steps: Mapping[str, int]
    batch: Mapping[str, int]
    paper: Sequence[Sequence[str]]
    about: str
    plotted: str


def measure(study: PuzzleStudy, effort: Effort, results: dict[str, Any], keep: Callable[[], None], say: Say) -> None:
    """Train each arm (or go on with it), then solve the test boards in every way that applies.

    ``results`` gets arm -> parameters, training, table; it is kept after each arm.
    """
    run = Run(steps=effort.steps or study.steps[effort.scale], batch=effort.batch or study.batch[effort.scale])
    arms = effort.chosen(ARMS)
    tests = study.tests(effort.scale, effort.boards, say)
    for arm in arms:
        say(f"== {study.name}, {effort.scale}: {arm}")
        folder = effort.runs / f"{study.name}_{effort.scale}" / arm.replace(" ", "_")
        shards = study.training_set(effort.scale, arm == "causal solver", say)
        trained, model = _train(study, arm, effort, run, shards, folder, say)
        entry = {"parameters": sum(p.numel() for p in model.parameters() if p.requires_grad), "training": trained}
        if isinstance(model, CausalSolver):
            entry["table"] = {}
            for name, batch in tests.items():
                # the solver's order is not handed over at test time: the model must find it
                entry["table"][name] = {"most probable": model.solve(batch, effort.device).to_dict()}
                say(f"  {name}: {percent(entry['table'][name]['most probable']['solved'])}")
        else:
            entry["table"] = measure_ways(
                model, shards.puzzle, tests, ways(study.decoding_steps), device=effort.device, say=say
            )
        results.setdefault("arms", {})[arm] = entry
        keep()


def _train(
    study: PuzzleStudy, arm: str, effort: Effort, run: Run, shards: Any, folder: Path, say: Say
) -> tuple[dict[str, Any], Any]:
    model: Any
    if arm.startswith("causal"):
        model = CausalSolver(shards.puzzle, study.causal[effort.scale], arm.split()[1], run.seed)
        loss = lambda net, batch, step: net.loss(batch)  # noqa: E731
    else:
        shape = replace(study.shapes[effort.scale], relations=arm == "relations")
        model, loss = PuzzleDenoiser.fresh(shards.puzzle, shape, run.seed), None
    state = train(
        model,
        shards,
        run,
        folder,
        loss=loss,
        minutes=effort.minutes,
        device=effort.device,
        compile=effort.device.startswith("cuda"),
        say=say,
        progress=effort.progress,
    )
    kept = record(run, state, effort.device)
    if isinstance(model, PuzzleDenoiser):
        save(model, Card(PUZZLES.spec_of(shards.puzzle), run.hide, kept), folder / "model")
    return kept, model


def page(study: PuzzleStudy, results: Mapping[str, Any]) -> Page:
    """Every number comes from ``results``."""
    out = Page()
    out.text(f"# {study.title}: which cell first?")
    out.text(
        f"Written by `unmask experiment {study.name}` from `docs/benchmarks/experiment_{study.name}.json`. "
        f"{study.about}"
    )
    out.text(
        "Per cent of boards solved, with 95 % intervals (Wilson); *forwards* are passes of the network a board. "
        "Structure-aware and plain models stand in tables of their own: relations tell the network which cells share a "
        "unit, which is much of the puzzle."
    )
    for scale, found in results["scales"].items():
        for arm, title in ARM_TITLES.items():
            if arm not in found.get("arms", {}):
                continue
            entry = found["arms"][arm]
            out.text(f"## {title} ({scale} scale)")
            out.text(training_line(entry["training"], entry["parameters"]) + ".")
            tests = list(entry["table"])
            names = list(next(iter(entry["table"].values())))
            columns = ["way", *[f"{t} (n = {_count(entry, t)})" for t in tests], "forwards"]
            rows = [
                [way, *[percent(entry["table"][t][way]["solved"]) for t in tests], _forwards(entry, way)]
                for way in names
            ]
            out.table(columns, rows)
        drawing = _drawing(study, found)
        if drawing is not None:
            shown = f"Boards of {study.plotted} solved, by way of decoding and model"
            out.drawing(f"{study.name}_{scale}", drawing, shown)
    out.text("## The paper's table")
    out.text("arXiv 2502.06768, other boards (those of arXiv 2409.10502), plain models; per cent.")
    out.table(["", "ARM, no order", "ARM, solver order", "vanilla", "top-prob", "margin"], study.paper)
    return out


def _count(entry: Mapping[str, Any], test: str) -> int:
    return int(next(iter(entry["table"][test].values()))["solved"]["texts"])


def _forwards(entry: Mapping[str, Any], way: str) -> str:
    counts = [entry["table"][test][way]["forwards"] for test in entry["table"]]
    return f"{min(counts):g}" if min(counts) == max(counts) else f"{min(counts):g} to {max(counts):g}"


def _drawing(study: PuzzleStudy, found: Mapping[str, Any]) -> Any:
    arms = [
        arm for arm in ("relations", "plain") if study.plotted in found.get("arms", {}).get(arm, {}).get("table", {})
    ]
    if not arms:
        return None
    names = list(found["arms"][arms[0]]["table"][study.plotted])
    with plot(height=0.5 + 0.42 * len(names)) as (figure, axes):
        for i, arm in enumerate(arms):
            shares = [found["arms"][arm]["table"][study.plotted][way]["solved"] for way in names]
            value = [100 * s["value"] for s in shares]
            reach = [[100 * (s["value"] - s["low"]) for s in shares], [100 * (s["high"] - s["value"]) for s in shares]]
            places = [k + 0.18 * (i - (len(arms) - 1) / 2) for k in range(len(names))]
            axes.errorbar(
                value, places, xerr=reach, fmt=MARKERS[i], color=SERIES[i], capsize=2, linestyle="none", label=arm
            )
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(-2, 102)
        axes.set_xlabel(f"boards solved, % ({study.plotted})")
        axes.legend(loc="lower right")
        return figure_svg(figure, f"Share of boards with {study.plotted} solved in each way, with 95 % intervals")
