"""The table of Sudoku and of Zebra: arms trained alike, ways of decoding, the paper's numbers beside ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unmask.data.puzzles import PUZZLES, Puzzle, PuzzleBatch
from unmask.decoding import DecodingPlan
from unmask.decoding.trace import write_text
from unmask.evaluation.page import MARKERS, SERIES, figure_svg, plot
from unmask.experiments.puzzle_arm import CausalShape, CausalSolver
from unmask.experiments.puzzle_model import Card, PuzzleDenoiser, Shape, save
from unmask.experiments.puzzle_run import Run, record
from unmask.experiments.puzzle_solving import TRIES, Solved, percent, planned, solve, solve_again, ways
from unmask.experiments.puzzle_training import train
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
        training: further settings of :class:`Run`, by scale.
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
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def measure(study: PuzzleStudy, effort: Effort, results: dict[str, Any], keep: Callable[[], None], say: Say) -> None:
    """Train each arm (or go on with it), then solve the test boards in every way that applies.

    ``results`` gets arm -> parameters, training, table; it is kept after each arm.
    """
    scale = effort.scale
    settings = study.training.get(scale, {})
    run = Run.sized(effort.steps or study.steps[scale], effort.batch or study.batch[scale], **settings)
    arms = effort.chosen(ARMS)
    every = study.tests(effort.scale, effort.boards, say)
    tests = {name: every[name] for name in effort.chosen_tests(list(every))}
    for arm in arms:
        say(f"== {study.name}, {effort.scale}: {arm}")
        folder = effort.runs / f"{study.name}_{effort.scale}" / arm.replace(" ", "_")
        shards = study.training_set(effort.scale, arm == "causal solver", say)
        trained, model = _train(study, arm, effort, run, shards, folder, say)
        entry = {"parameters": sum(p.numel() for p in model.parameters() if p.requires_grad), "training": trained}
        if isinstance(model, PuzzleDenoiser):
            entry["network"] = network(model)
        old = results.get("arms", {}).get(arm)
        # test sets that were measured on these very weights stay
        same = old is not None and old["training"]["losses"] == trained["losses"]
        entry["table"] = old["table"] if same else {}
        results.setdefault("arms", {})[arm] = entry
        for name, batch in tests.items():
            kept = entry["table"].get(name, {})
            entry["table"][name] = line = {}
            entry["table"] = {test: entry["table"][test] for test in every if test in entry["table"]}
            for way, solved in _ways(study, model, shards.puzzle, batch, effort.device).items():
                known = kept.get(way)
                # what was measured on these very weights and boards stays: a command that was stopped goes on
                line[way] = known if known and known["solved"]["texts"] == len(batch) else solved().to_dict()
                say(f"  {name}, {way}: {percent(line[way]['solved'])}")
                keep()  # a way may take minutes
        if isinstance(model, PuzzleDenoiser):
            write_text(folder / "model" / "README.md", model_card(study, arm, entry))


def network(model: PuzzleDenoiser) -> str:
    """How a denoiser is built, in words."""
    c = model.net.config
    parts = [f"{c.layers} blocks of width {c.dim}"]
    if c.loops > 1:
        parts.append(f"applied {c.loops} times")
    if c.loops > 1 and c.input_injection:
        parts.append("the board added again before each time")
    if c.loops > 1 and c.deep_supervision:
        parts.append("every time trained to answer (the loss is their mean)")
    return ", ".join(parts)


def _ways(
    study: PuzzleStudy, model: Any, puzzle: Puzzle, batch: PuzzleBatch, device: str
) -> dict[str, Callable[[], Solved]]:
    """Each way of solving by its name; nothing is done before it is called."""
    if isinstance(model, CausalSolver):
        # the solver's order is not handed over at test time: the model must find it
        return {"most probable": lambda: model.solve(batch, device)}

    def by_plan(plan: DecodingPlan) -> Callable[[], Solved]:
        return lambda: solve(model, puzzle, batch, plan, device=device)

    def looped(loops: int) -> Callable[[], Solved]:
        def think() -> Solved:
            model.loops(loops)
            solved = solve(model, puzzle, batch, margin, device=device)
            model.loops(own)
            return solved

        return think

    margin, own = planned("margin", study.decoding_steps), model.net.config.loops
    more = sorted({own * 3 // 2, 2 * own}) if own > 1 and model.net.config.deep_supervision else []
    return {
        **{way: by_plan(plan) for way, plan in ways(study.decoding_steps).items()},
        f"margin, at most {TRIES} tries": lambda: solve_again(model, puzzle, batch, margin, device=device),
        **{f"margin, {loops} loops for {own}": looped(loops) for loops in more},
    }


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
    kept = record(run, state)
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
        "Per cent of boards solved, with 95 % intervals (Wilson); *forwards* are passes of the network a board (longer "
        "ones where loops are more than trained with). "
        "Structure-aware and plain models stand in tables of their own: relations tell the network which cells share a "
        "unit, which is much of the puzzle."
    )
    for scale, found in results["scales"].items():
        for arm, title in ARM_TITLES.items():
            if arm not in found.get("arms", {}):
                continue
            entry = found["arms"][arm]
            out.text(f"## {title} ({scale} scale)")
            built = f" The network: {entry['network']}." if "network" in entry else ""
            out.text(training_line(entry["training"], entry["parameters"]) + "." + built)
            _table(out, entry)
        drawing = _drawing(study, found)
        if drawing is not None:
            shown = f"Boards of {study.plotted} solved, by way of decoding and model"
            out.drawing(f"{study.name}_{scale}", drawing, shown)
        learning = _learning(found)
        if learning is not None:
            out.text(
                "Training loss by boards seen. A plateau is a stretch in which the network knows how often a digit "
                "occurs beside what is shown, and not yet what follows from it."
            )
            out.drawing(f"{study.name}_{scale}_loss", learning, "Training loss against boards seen")
    out.text("## The paper's table")
    out.text("arXiv 2502.06768, other boards (those of arXiv 2409.10502), plain models; per cent.")
    out.table(["", "ARM, no order", "ARM, solver order", "vanilla", "top-prob", "margin"], study.paper)
    return out


def _table(out: Page, entry: Mapping[str, Any]) -> None:
    table = {test: line for test, line in entry["table"].items() if line}
    if not table:
        out.text("Nothing is measured yet.")
        return
    longest: Mapping[str, Any] = max(table.values(), key=len)
    names = list(longest)
    count = {test: next(iter(line.values()))["solved"]["texts"] for test, line in table.items()}
    columns = ["way", *[f"{test} (n = {n})" for test, n in count.items()], "forwards"]
    rows = [[way, *[_cell(line, way) for line in table.values()], _forwards(table, way)] for way in names]
    out.table(columns, rows)


def model_card(study: PuzzleStudy, arm: str, entry: Mapping[str, Any]) -> str:
    """What a checkpoint's README says, from the numbers that were measured on it."""
    out = Page()
    out.text(f"# {study.title}: {arm}")
    out.text(f"{ARM_TITLES[arm]}. {training_line(entry['training'], entry['parameters'])}. {study.about}")
    out.text(
        f"Made by `unmask experiment {study.name} --steps {entry['training']['steps']} --batch "
        f"{entry['training']['batch']} --arm {arm}`; weights are the run's average. Per cent of held-out boards "
        "solved, with 95 % intervals:"
    )
    _table(out, entry)
    out.text(
        "For puzzles of this kind and size only; an answer may break a rule, which `unmask puzzle` says. Licence: "
        "Apache-2.0, like the project; trained on boards that the project made."
    )
    return out.markdown()


def _cell(line: Mapping[str, Any], way: str) -> str:
    return percent(line[way]["solved"]) if way in line else "not measured"


def _forwards(table: Mapping[str, Any], way: str) -> str:
    counts = [line[way]["forwards"] for line in table.values() if way in line]
    return f"{min(counts):g}" if min(counts) == max(counts) else f"{min(counts):g} to {max(counts):g}"


def _learning(found: Mapping[str, Any]) -> Any:
    curves = {arm: entry["training"] for arm, entry in found.get("arms", {}).items() if entry["training"]["losses"]}
    if not curves:
        return None
    with plot(height=2.8) as (figure, axes):
        for i, (arm, training) in enumerate(curves.items()):
            steps, losses = zip(*training["losses"], strict=True)
            seen, sparse = [s * training["batch"] for s in steps], max(1, len(steps) // 10)
            axes.plot(seen, losses, color=SERIES[i], marker=MARKERS[i], markevery=sparse, label=arm)
        # plateaus lie at the start, and arms see very different numbers of boards
        axes.set_xscale("log")
        axes.set_xlabel("boards seen")
        axes.set_ylabel("loss, nats a hidden token")
        axes.set_ylim(bottom=0)
        if len(curves) > 1:
            axes.legend()
        return figure_svg(figure, "Training loss of each model against boards seen")


def _drawing(study: PuzzleStudy, found: Mapping[str, Any]) -> Any:
    measured = {arm: entry["table"].get(study.plotted) for arm, entry in found.get("arms", {}).items()}
    lines = {arm: measured[arm] for arm in ("relations", "plain") if measured.get(arm)}
    if not lines:
        return None
    longest: Mapping[str, Any] = max(lines.values(), key=len)
    names = list(longest)
    with plot(height=0.5 + 0.42 * len(names)) as (figure, axes):
        for i, (arm, line) in enumerate(lines.items()):
            at = [k for k, way in enumerate(names) if way in line]
            shares = [line[names[k]]["solved"] for k in at]
            value = [100 * s["value"] for s in shares]
            reach = [[100 * (s["value"] - s["low"]) for s in shares], [100 * (s["high"] - s["value"]) for s in shares]]
            places = [k + 0.18 * (i - (len(lines) - 1) / 2) for k in at]
            axes.errorbar(
                value, places, xerr=reach, fmt=MARKERS[i], color=SERIES[i], capsize=2, linestyle="none", label=arm
            )
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(-2, 102)
        axes.set_xlabel(f"boards solved, % ({study.plotted})")
        if len(lines) > 1:
            # above the field: inside it its markers pass for results
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(lines))
        return figure_svg(figure, f"Share of boards with {study.plotted} solved in each way, with 95 % intervals")
