"""The verdict in a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from unmask.diagnosis.baseline import Comparison
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.verdict import Verdict
from unmask.reporting.ledger import prescribed, prescription_table, replacements_table, sentence
from unmask.reporting.ledger import table as ledger_table
from unmask.reporting.page import PageTable
from unmask.reporting.tables import terminal
from unmask.reporting.writing import measures_table, pairs_table

STYLE = {"pass": "green", "warn": "yellow", "fail": "bold red", "not_run": "dim"}
WORD = {"pass": "pass", "warn": "warn", "fail": "FAIL", "not_run": "not run"}


def view(verdict: Verdict) -> Group:
    """Headline, causes in full, warnings, and one line for each other check. Text is never read as markup."""
    parts: list[Any] = [
        Panel(
            Text(verdict.headline),
            title=Text(f"{verdict.subject}: {WORD[verdict.status]}"),
            style=STYLE[verdict.status],
        )
    ]
    parts += [Text(note, style="yellow") for note in verdict.notes]
    if verdict.writing is not None and verdict.writing.pairs:
        parts += [terminal(pairs_table(verdict.writing)), terminal(measures_table(verdict.writing)), Text()]
    if verdict.comparison is not None:
        parts += [terminal(changes_table(verdict.comparison)), Text()]
    if verdict.ledger is not None:
        parts += [] if verdict.ledger.why else [terminal(ledger_table(verdict.ledger))]
        parts += [Text(sentence(verdict.ledger)), Text()]
    if verdict.replacements:
        parts += [terminal(replacements_table(verdict.replacements)), Text()]
    if verdict.prescription is not None:
        parts += [terminal(prescription_table(verdict.prescription)), Text(prescribed(verdict.prescription)), Text()]
    roots = {c.finding.check: c for c in verdict.causes}
    for number, cause in enumerate(verdict.causes, 1):
        also = Text(f"\n   explains: {', '.join(cause.consequences)}") if cause.consequences else Text()
        parts.append(Group(Text(f"{number}. {cause.finding.fault}", style="bold"), _body(cause.finding), also))
    for finding in verdict.findings:
        if finding.status == "warn":
            parts.append(Group(Text(f"warning: {finding.title}", style="yellow"), _body(finding), Text()))
    table = RichTable(box=None, pad_edge=False, show_header=True, header_style="dim")
    for head in ("check", "", "measured", "forwards", "s"):
        table.add_column(head, justify="right" if head in ("forwards", "s") else "left", overflow="fold")
    for f in verdict.findings:
        shown = "see above" if f.check in roots or f.status == "warn" else f.measured or f.why
        table.add_row(
            Text(f.check),
            Text(WORD[f.status], style=STYLE[f.status]),
            Text(shown),
            f"{f.forwards:,}",
            f"{f.seconds:.1f}",
        )
    parts.append(table)
    parts.append(
        Text(
            f"{verdict.budget}: {verdict.forwards:,} forwards of one row, {verdict.seconds:.1f} s"
            + written_with(verdict),
            style="dim",
        )
    )
    return Group(*parts)


def print_line(console: Console, finding: Finding) -> None:
    """Print one line for a finding as it comes: the check, how it went, and what was measured."""
    line = Text(f"{finding.check:22s} ")
    line.append(f"{WORD[finding.status]:8s} ", STYLE[finding.status])
    line.append(" ".join((finding.measured or finding.why).split()))
    console.print(line, no_wrap=True, overflow="ellipsis")


def changes_table(comparison: Comparison) -> PageTable:
    """What is not as in the baseline, regressions first."""
    rows = [("worse" if c.worse else "better", c.what, c.before, c.now) for c in comparison.changes]
    left = f" Could be run then, and not now: {', '.join(comparison.unasked)}." if comparison.unasked else ""
    note = f"{comparison.baseline}. Numbers by more than 3 standard errors of both.{left}"
    return PageTable("Beside the baseline", ("", "what", "before", "now"), rows, align="llll", note=note)


def written_with(verdict: Verdict) -> str:
    """``; texts written with order=margin, steps=16``, where the subject says."""
    return f"; texts written with {verdict.plan}" if verdict.plan else ""


def _body(finding: Finding) -> Text:
    lines = [("measured", finding.measured), ("expected", finding.threshold), ("why", finding.why)]
    lines.append(("next", finding.next_step))
    return Text("\n".join(f"   {name:9s}{text}" for name, text in lines if text))
