"""Where the nats go: the ledger of a verdict as a table and as a waterfall."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from unmask.diagnosis.ledger import Ledger, Line
from unmask.diagnosis.prescription import Prescription
from unmask.diagnosis.repair import REPAIRS
from unmask.diagnosis.replacement import Replacement
from unmask.reporting.page import GRID, INK, SERIES, Figure, PageBlock, PageTable, Text, figure_svg, plot
from unmask.reporting.writing import mean_cell

#: lines by name as they are shown
TITLES = {
    "learned": "learned",
    "vector": "told by the vector",
    "inference": "inference beside training",
    "steps": "number of steps",
    "division": "division of tokens",
    "order": "order",
    "law": "temperature, top-k/p, guidance",
    "draw": "drawn beside told",
    "compounding": "compounding",
    "held_out": "held-out beside training text",
    "recorded": "now beside recorded",
    "unexplained": "unexplained",
}


def blocks(ledger: Ledger) -> list[PageBlock]:
    """The page's blocks of a loss account: sentence, waterfall and tables."""
    if ledger.why:
        return [Text(f"There is no account: {ledger.why}.")]
    drawn = Figure(
        waterfall(ledger),
        "From the yardstick (a 5-gram chain) to what is written; hatched bars to the right are losses.",
    )
    return [Text(sentence(ledger)), drawn, table(ledger)]


def sentence(ledger: Ledger) -> str:
    """The account in one sentence."""
    if ledger.total is None or ledger.reference is None or ledger.yardstick is None:
        return f"There is no account: {ledger.why}."
    said = (
        f"Along the plan the reference text costs {mean_cell(ledger.reference)} nats a token under the model's law; "
        f"a 5-gram chain of training text pays {mean_cell(ledger.yardstick)}. With what the draw and the model's own "
        f"errors add, the distance is {mean_cell(ledger.total)}."
    )
    largest = ledger.largest
    if largest is None:
        return said + " No line is surely a loss."
    return said + f" The line with the most to gain is {TITLES[largest.name]}: {mean_cell(largest.cost)}."


def table(ledger: Ledger) -> PageTable:
    """A table of the account's lines, which add up to the distance."""
    rows = [(TITLES[x.name], mean_cell(x.nats), _gain(x), _words(x)) for x in ledger.lines]
    rows.append(("distance", mean_cell(ledger.total), "", "What the lines add up to."))
    left = "; ".join(f"{TITLES[name]}: {why}" for name, why in ledger.left_out.items())
    note = "Nats a token, two standard errors behind ±; positive is worse." + (f" Left out: {left}." if left else "")
    columns = ("line", "nats a token", "to gain", "what it is")
    return PageTable("Where the nats go", columns, rows, align="lrrl", note=note)


def replacements_table(found: Sequence[Replacement]) -> PageTable:
    """What goes of each symptom when one ingredient is ideal."""
    rows = [(x.ingredient, x.symptom, mean_cell(x.before), mean_cell(x.after), mean_cell(x.gone)) for x in found]
    columns = ("replaced by", "symptom", "before", "after", "share of it that goes")
    note = (
        "One ingredient at a time. A true length, a true first half and an oracle's order stand beside a plain sampler "
        "in random order, the others beside the plan. 1: all of it goes; negative: it grows."
    )
    return PageTable("What goes when one ingredient is ideal", columns, rows, align="llrrr", note=note)


def prescribed(found: Prescription) -> str:
    """The best plan that was tried, in words."""
    if not found.better:
        return f"Of {found.tried} plans at as many forwards none is surely better than the one in use."
    return f"The best of {found.tried} plans at as many forwards, tried on a fresh seed: {found.command}"


def prescription_table(found: Prescription) -> PageTable:
    """The user's plan beside the best that was tried."""
    rows = [(name, mean_cell(before), mean_cell(found.after[name])) for name, before in found.before.items()]
    return PageTable("Your plan and the best tried", ("symptom", "your plan", "best tried"), rows)


def _gain(line: Line) -> str:
    return "" if line.open is None else mean_cell(line.open)


def _words(line: Line) -> str:
    surely = line.nats.surely_above > 0 and line.repair in REPAIRS
    return f"{line.words} Repair: {line.repair}." if surely else line.words


def waterfall(ledger: Ledger) -> Markup:
    """Each line as a bar that starts where the one before it ended."""
    lines = ledger.lines
    with plot(height=0.9 + 0.3 * (len(lines) + 1)) as (figure, axes):
        at, ends = 0.0, [0.0]
        for row, line in enumerate(lines):
            nats = line.nats.value
            worse = nats > 0
            axes.barh(
                row, nats, 0.62, left=at, color=SERIES[1 if worse else 0], hatch="///" if worse else None, zorder=2
            )
            if math.isfinite(line.nats.error):
                axes.errorbar(at + nats, row, xerr=2 * line.nats.error, color=INK, capsize=2, elinewidth=1, zorder=3)
            at += nats
            ends.append(at)
            axes.plot([at, at], [row - 0.31, row + 1.31], color=GRID, linewidth=1, zorder=1)
        axes.barh(len(lines), at, 0.62, color=SERIES[2], zorder=2)
        axes.axvline(0, color=INK, linewidth=0.8)
        room = max(max(ends) - min(ends), 0.1) * 0.02
        for row, line in enumerate(lines):
            right = max(ends[row], ends[row + 1] + 2 * _finite(line.nats.error)) + room
            axes.text(right, row, _signed(line.nats.value), va="center", fontsize=9)
        axes.text(max(at, 0) + room, len(lines), _signed(at), va="center", fontsize=9)
        axes.set_yticks(range(len(lines) + 1), [TITLES[x.name] for x in lines] + ["distance"])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.12)
        axes.set_xlabel("nats a token, from the yardstick")
        said = ", ".join(f"{TITLES[x.name]} {_signed(x.nats.value)}" for x in lines)
        return figure_svg(figure, f"Waterfall of the ledger in nats a token: {said}; distance {_signed(at)}")


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
