"""Puzzles: one being solved, cell by cell, as lines and as a page; and how many of a set were solved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.render import save_page
from unmask.data.puzzles import Puzzle
from unmask.decoding import Trace
from unmask.evaluation.boards import BoardScores
from unmask.reporting.page import Embed, Html, PageTable, Section, Text, Tiles, render_page
from unmask.reporting.tables import between, terminal


def steps(puzzle: Puzzle, trace: Trace) -> Iterator[tuple[int, str, str, float, float]]:
    """(step, place, value, probability, margin) in the order of writing."""
    e = trace.events
    columns = (e[name].tolist() for name in ("step", "position", "value", "probability", "margin"))
    for step, position, value, probability, margin in zip(*columns, strict=True):
        yield step + 1, puzzle.place_name(position), puzzle.value_name(value), probability, margin


def write(puzzle: Puzzle, trace: Trace, solved: bool, path: str | Path, note: str = "") -> Path:
    """The trace as ``.html`` (the board with the order in each cell, a table of steps, the animation) or ``.json``.

    ``note`` is put behind the settings on the page.

    Raises:
        UsageError: another ending.
    """
    path = Path(path)
    if path.suffix == ".json":
        return trace.save(path)
    if path.suffix != ".html":
        raise UsageError(f"a trace is written as .html or .json, not {path.name!r}")
    said = "every rule holds" if solved else "not solved: a rule is broken"
    settings = ", ".join(f"{k} {v}" for k, v in trace.plan.items()) or "default plan"
    sections = solving(puzzle, trace, f"Result: {said}.")
    title = "One puzzle, solved" if solved else "One puzzle, not solved"
    return save_page(path, render_page(title, sections, subtitle=settings + note))


def solving(puzzle: Puzzle, trace: Trace, said: str = "") -> list[Section]:
    """One board: as it was filled in, cell by cell, and a replay."""
    shown: list[Text | Html]
    if puzzle.box is not None:
        shown = [Text(f"Small numbers: the step that wrote the cell. {said}"), Html(_board(puzzle, puzzle.box, trace))]
    else:
        board = Markup("<pre>{}</pre>").format(puzzle.show(trace.replay()[0]))
        shown = [Text(f"As it was written. {said}"), Html(board)]
    lines = [(str(s), place, value, f"{p:.3f}", f"{m:.3f}") for s, place, value, p, m in steps(puzzle, trace)]
    table = PageTable("Cell by cell", ["step", "cell", "value", "probability", "margin"], lines, align="rlrrr")
    spelled = trace.html(lambda token: puzzle.value_name(token) + " ", title="One unmasking, step by step")
    return [
        Section("The board", shown),
        Section("The order", [table]),
        Section("Replay", [Embed(spelled, "Replay of the unmasking")]),
    ]


def grid(result: BoardScores) -> PageTable:
    """The table of solved boards, for the terminal and the page."""
    rows = [
        ("boards solved", between(result.solved)),
        ("solved at the first attempt", between(result.at_once)),
        ("hidden cells right", between(result.cells)),
        ("forwards a board", f"{result.forwards:.1f}"),
    ]
    if result.calls:
        rows.append(("answers checked against the rules, a board", f"{result.calls:.2f}"))
    note = f"{result.boards} boards of {result.puzzle}. Solved: Wilson's 95 % interval. "
    return PageTable("Boards", ("measure", "value"), rows, note=note + " ".join(result.notes))


def tables(result: BoardScores, samples: int = 0) -> list[Any]:
    """The table for a :class:`rich.console.Console`."""
    return [terminal(grid(result))]


def page(result: BoardScores, title: str = "Evaluation") -> str:
    """The page of solved boards as self-contained HTML."""
    tiles = [("solved", f"{100 * result.solved.value:.1f} %", f"of {result.boards} boards")]
    about = " · ".join(f"{key}: {value}" for key, value in result.about.items())
    sections = [Section("At a glance", [Tiles(tiles)]), Section("Measured", [grid(result)])]
    reasons = [Text(f"{name}: {reason}") for name, reason in result.not_measured.items()]
    sections += [Section("Not measured", reasons)] if reasons else []
    if result.trace is not None:
        sections += solving(result.made_of, result.trace, "The first of them.")
    return render_page(title, sections, subtitle=f"{result.boards} boards of {result.puzzle}", footer=about)


def _board(puzzle: Puzzle, box: tuple[int, int], trace: Trace) -> Markup:
    written: dict[int, int] = {}
    for position, step in zip(trace.events["position"].tolist(), trace.events["step"].tolist(), strict=True):
        written[position] = step + 1
    final: Tensor = trace.replay()[0]
    high, wide = box
    size = high * wide
    rows = []
    for r in range(size):
        cells = []
        for c in range(size):
            position = r * size + c
            edge = ";".join(
                (["border-top:2px solid var(--ink)"] if r % high == 0 else [])
                + (["border-left:2px solid var(--ink)"] if c % wide == 0 else [])
            )
            step = written.get(position)
            weight = "400" if step else "700"
            note = (
                Markup("<br><small style='color:var(--muted)'>{}</small>").format(step)
                if step
                else Markup("<br>&nbsp;")
            )
            cells.append(
                Markup(
                    "<td style='border:1px solid var(--grid);{};text-align:center;min-width:2.2em;padding:.3rem .7rem;"
                    "font-weight:{}'>{}{}</td>"
                ).format(edge, weight, puzzle.value_name(int(final[position])), note)
            )
        rows.append(Markup("<tr>{}</tr>").format(Markup("").join(cells)))
    frame = "border-collapse:collapse;border:2px solid var(--ink)"
    return Markup("<table style='{}'>{}</table>").format(frame, Markup("").join(rows))
