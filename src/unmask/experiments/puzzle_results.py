"""The page of Sudoku and of Zebra and the cards of their checkpoints, every number from the results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unmask.experiments.puzzle_study import ARM_TITLES, ARMS, PuzzleStudy
from unmask.experiments.study import Page, training_line
from unmask.families.puzzle.solving import percent
from unmask.reporting.page import MARKERS, SERIES, figure_svg, plot


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
        "Structure-aware and plain models stand in tables of their own: relations tell the network which positions a "
        "rule ties together, which is much of the puzzle."
    )
    for scale, found in results["scales"].items():
        _compared(out, study, scale, found)
        for arm, title in ARM_TITLES.items():
            if arm not in found.get("arms", {}):
                continue
            entry = found["arms"][arm]
            out.text(f"## {title} ({scale} scale)")
            built = f" The network: {entry['network']}." if "network" in entry else ""
            out.text(training_line(entry["training"], entry["parameters"]) + "." + built + _data(entry) + _cost(entry))
            _table(out, entry)
        drawing = _drawing(study, found)
        if drawing is not None:
            shown = f"Boards of {_plotted(study, found)} solved, by way of decoding and model"
            out.drawing(f"{study.name}_{scale}", drawing, shown)
        learning = _learning(found)
        if learning is not None:
            out.text(
                "Training loss by boards seen. A plateau is a stretch in which the network knows how often a value "
                "occurs beside what is shown, and not yet what follows from it. Causal arms are scored on "
                "the positions that they write too, which cost nothing in raster order."
            )
            out.drawing(f"{study.name}_{scale}_loss", learning, "Training loss against boards seen")
    out.text("## The paper's table")
    out.text(
        "arXiv 2502.06768, other boards (those of arXiv 2409.10502), plain models; per cent. Ours below it: boards, "
        "sizes and what was trained on differ (above), so the orders of one network compare with one another, and arms "
        "by the table of compute."
    )
    rows = [*study.paper, *(row for scale, found in results["scales"].items() for row in _beside(scale, found))]
    out.table(["", "ARM, no order", "ARM, solver order", "vanilla", "top-prob", "margin"], rows)
    return out


def _beside(scale: str, found: Mapping[str, Any]) -> list[list[str]]:
    """Our rows under the paper's: the plain arms in one, the structure-aware network in another, for each test set."""
    arms = found.get("arms", {})
    tests = dict.fromkeys(test for arm in ARMS for test in arms.get(arm, {}).get("table", {}))

    def share(arm: str, test: str, way: str) -> str:
        solved = arms.get(arm, {}).get("table", {}).get(test, {}).get(way)
        return "-" if solved is None else f"{100 * solved['solved']['value']:.1f}"

    rows = []
    for test in tests:
        causal = [share(f"causal {order}", test, "most probable") for order in ("raster", "solver")]
        for title, arm, ours in (("plain", "plain", causal), ("structure-aware", "relations", ["-", "-"])):
            cells = [*ours, *(share(arm, test, way) for way in ("vanilla", "top_prob", "margin"))]
            if set(cells) != {"-"}:
                rows.append([f"ours, {test}, {title} ({scale} scale)", *cells])
    return rows


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


def model_card(study: PuzzleStudy, scale: str, arm: str, entry: Mapping[str, Any]) -> str:
    """What a checkpoint's README says, from the numbers that were measured on it."""
    out = Page()
    out.text(f"# {study.title}: {arm}")
    out.text(f"{ARM_TITLES[arm]}. {training_line(entry['training'], entry['parameters'])}.{_data(entry)} {study.about}")
    sized = "" if scale == "cpu" else f"--scale {scale} "
    out.text(
        f"Made by `unmask experiment {study.name} {sized}--steps {entry['training']['steps']} --batch "
        f"{entry['training']['batch']} --arm {arm}`; weights are the run's average. Per cent of held-out boards "
        "solved, with 95 % intervals:"
    )
    _table(out, entry)
    out.text(
        "For puzzles of this kind and size only; an answer may break a rule, which `unmask puzzle` says. Licence: "
        "Apache-2.0, like the project; trained on boards that the project made."
    )
    return out.markdown()


def _data(entry: Mapping[str, Any]) -> str:
    return f" Puzzles seen: {entry['data']}." if "data" in entry else ""


def _plotted(study: PuzzleStudy, found: Mapping[str, Any]) -> str:
    """The test set that is drawn and compared: the study's own, or the first that this scale has."""
    names = dict.fromkeys(test for entry in found.get("arms", {}).values() for test in entry["table"])
    return study.plotted if study.plotted in names else next(iter(names), study.plotted)


def _compared(out: Page, study: PuzzleStudy, scale: str, found: Mapping[str, Any]) -> None:
    """The arms side by side by what their training cost."""
    arms = {arm: found["arms"][arm] for arm in ARMS if arm in found.get("arms", {})}
    if len(arms) < 2 or not any("flops_a_row" in entry for entry in arms.values()):
        return
    rows, test = [], _plotted(study, found)
    for arm, entry in arms.items():
        line = entry["table"].get(test, {})
        way = "margin" if "margin" in line else next(iter(line), None)
        spent = compute(entry)
        solved = "not measured" if way is None else f"{percent(line[way]['solved'])} ({way})"
        cost = "not counted" if spent is None else f"{spent / 1e12:,.0f}"
        rows.append([arm, f"{entry['parameters']:,}", f"{entry['training']['boards']:,}", cost, solved])
    out.text(
        f"## The arms by compute ({scale} scale)",
        "",
        "Teraflops are those of training's matrix products, forward and backward, which do not depend on what else a "
        "machine does. What each arm was trained on stands with it: data differ where arms need other data.",
    )
    out.table(["arm", "parameters", "rows seen", "teraflops", f"{test}, % solved"], rows)


def compute(entry: Mapping[str, Any]) -> float | None:
    """Floating-point operations in the matrix products of an arm's training; None where they were not counted."""
    each = entry.get("flops_a_row")
    return None if each is None else float(each * entry["training"]["boards"])


def _cost(entry: Mapping[str, Any]) -> str:
    spent = compute(entry)
    return "" if spent is None else f" Compute: {spent / 1e12:,.0f} teraflops in matrix products."


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
    test = _plotted(study, found)
    measured = {arm: entry["table"].get(test) for arm, entry in found.get("arms", {}).items()}
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
        causal = {arm: measured[arm] for arm in ARMS if arm.startswith("causal") and measured.get(arm)}
        for i, (arm, line) in enumerate(causal.items()):
            # one way each: a line across the others
            solved = 100 * next(iter(line.values()))["solved"]["value"]
            axes.axvline(solved, color=SERIES[2 + i], linestyle=("--", ":")[i], label=arm)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(-2, 102)
        axes.set_xlabel(f"boards solved, % ({test})")
        if len(lines) + len(causal) > 1:
            # above the field: inside it its markers pass for results
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(lines) + len(causal))
        return figure_svg(figure, f"Share of boards with {test} solved in each way, with 95 % intervals")
