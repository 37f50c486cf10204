"""One puzzle being solved: which cell came when and how sure the model was, as lines and as a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.render import save_page
from unmask.data.puzzles import Puzzle
from unmask.data.puzzles.kinds.sudoku import Sudoku
from unmask.data.puzzles.kinds.zebra import Zebra
from unmask.data.puzzles.kinds.zebra_items import ZebraItems
from unmask.data.puzzles.zebra.canvas import FIRST_ITEM
from unmask.decoding import Trace
from unmask.reporting.page import Embed, Html, Section, Table, Text, render_page


def place_name(puzzle: Puzzle, position: int) -> str:
    """What people call a position: ``r1c3``, ``A in H2``, ``house of B3``, ``x5``."""
    if isinstance(puzzle, Sudoku):
        return puzzle.layout.name(position)
    if isinstance(puzzle, ZebraItems):
        if position < puzzle.form.side**2:
            attribute, value = divmod(position, puzzle.form.side)
            return f"house of {'ABCDEF'[attribute]}{value + 1}"
    elif isinstance(puzzle, Zebra) and position < puzzle.form.cells:
        attribute, house = divmod(position, puzzle.form.side)
        return f"{'ABCDEF'[attribute]} in H{house + 1}"
    return f"x{position + 1}"


def value_name(puzzle: Puzzle, token: int) -> str:
    """What people call a value: a digit, ``B2``, ``H3``, a bit."""
    if isinstance(puzzle, Zebra):
        side, item = puzzle.form.side, token - FIRST_ITEM
        kind = "H" if item >= side**2 else "ABCDEF"[max(item, 0) // side]
        return f"{kind}{item % side + 1}" if item >= 0 else "-"
    return str(token if isinstance(puzzle, Sudoku) else token - 1)


def steps(puzzle: Puzzle, trace: Trace) -> Iterator[tuple[int, str, str, float, float]]:
    """(step, place, value, probability, margin) in the order of writing."""
    e = trace.events
    columns = (e[name].tolist() for name in ("step", "position", "value", "probability", "margin"))
    for step, position, value, probability, margin in zip(*columns, strict=True):
        yield step + 1, place_name(puzzle, position), value_name(puzzle, value), probability, margin


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
    lines = [(str(s), place, value, f"{p:.3f}", f"{m:.3f}") for s, place, value, p, m in steps(puzzle, trace)]
    said = "every rule holds" if solved else "not solved: a rule is broken"
    settings = ", ".join(f"{k} {v}" for k, v in trace.plan.items()) or "default plan"
    shown: list[Text | Html]
    if isinstance(puzzle, Sudoku):
        shown = [Text(f"Small numbers: the step that wrote the cell. Result: {said}."), Html(_board(puzzle, trace))]
    else:
        board = Markup("<pre>{}</pre>").format(puzzle.show(trace.replay()[0]))
        shown = [Text(f"As it was written. Result: {said}."), Html(board)]
    sections = [Section("The board", shown)]
    table = Table("Cell by cell", ["step", "cell", "value", "probability", "margin"], lines, align="rlrrr")
    sections.append(Section("The order", [table]))
    spelled = trace.html(lambda token: value_name(puzzle, token) + " ", title="One unmasking, step by step")
    sections.append(Section("Replay", [Embed(spelled, "Replay of the unmasking")]))
    title = "One puzzle, solved" if solved else "One puzzle, not solved"
    return save_page(path, render_page(title, sections, subtitle=settings + note))


def _board(puzzle: Sudoku, trace: Trace) -> Markup:
    written: dict[int, int] = {}
    for position, step in zip(trace.events["position"].tolist(), trace.events["step"].tolist(), strict=True):
        written[position] = step + 1
    final: Tensor = trace.replay()[0]
    size, (high, wide) = puzzle.size, puzzle.layout.box
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
                ).format(edge, weight, int(final[position]), note)
            )
        rows.append(Markup("<tr>{}</tr>").format(Markup("").join(cells)))
    frame = "border-collapse:collapse;border:2px solid var(--ink)"
    return Markup("<table style='{}'>{}</table>").format(frame, Markup("").join(rows))
