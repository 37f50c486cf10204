"""The verdict as a self-contained page: no network, no script, light and dark, wide and narrow, on paper too."""

from __future__ import annotations

import math
import warnings
from typing import Any

from markupsafe import Markup

from unmask.diagnosis.finding import Finding, Plot, plain
from unmask.diagnosis.verdict import Verdict
from unmask.diagnosis.writing import WritingReport
from unmask.reporting.ledger import blocks as ledger_blocks
from unmask.reporting.ledger import prescribed, prescription_table, replacements_table
from unmask.reporting.page import (
    MARKERS,
    Html,
    PageBlock,
    Section,
    Text,
    Tiles,
    figure_svg,
    fragment,
    plot,
    render_page,
)
from unmask.reporting.verdict_view import WORD, changes_table, written_with
from unmask.reporting.writing import measures_table, pairs_table


def page(verdict: Verdict) -> str:
    """The page of a verdict as self-contained HTML."""
    roots = {c.finding.check: c for c in verdict.causes}
    # the ledger's cause is no check's
    short: list[PageBlock] = [
        Html(_finding(c.finding, [])) for c in verdict.causes if c.finding not in verdict.findings
    ]
    groups: dict[str, list[PageBlock]] = {
        "Causes": short,
        "What follows, and warnings": [],
        "In order": [],
        "Not run": [],
    }
    for finding in verdict.findings:
        if finding.check in roots:
            where = "Causes"
        elif finding.status in ("fail", "warn"):
            where = "What follows, and warnings"
        else:
            where = "In order" if finding.status == "pass" else "Not run"
        explains = list(roots[finding.check].consequences) if finding.check in roots else []
        groups[where].append(Html(_finding(finding, explains)))
    banner = fragment("banner.html", verdict=verdict, word=WORD)
    notes: list[PageBlock] = [Text(note) for note in verdict.notes]
    sections = [Section("Verdict", [Html(banner), Tiles(_tiles(verdict)), *notes])]
    if verdict.writing is not None:
        sections.append(Section("Writing", _writing(verdict.writing)))
    if verdict.comparison is not None:
        said_now: list[PageBlock] = [Text(verdict.comparison.sentence), changes_table(verdict.comparison)]
        sections.append(Section("Beside the baseline", said_now))
    if verdict.ledger is not None:
        sections.append(Section("Ledger", ledger_blocks(verdict.ledger)))
    if verdict.replacements:
        sections.append(Section("Repair by replacement", [replacements_table(verdict.replacements)]))
    if verdict.prescription is not None:
        said: list[PageBlock] = [Text(prescribed(verdict.prescription)), prescription_table(verdict.prescription)]
        sections.append(Section("What to do", said))
    sections += [Section(name, blocks) for name, blocks in groups.items() if blocks]
    sections.append(Section("How to read this", [Text(_READING)]))
    return render_page(
        f"{verdict.subject}: {WORD[verdict.status]}",
        sections,
        subtitle=f"unmask diagnose, {verdict.budget} budget, seed {verdict.seed}{written_with(verdict)}",
        footer=", ".join(f"{k} {v}" for k, v in verdict.versions.items()),
    )


def _writing(writing: WritingReport) -> list[PageBlock]:
    said: list[PageBlock] = [Text(writing.sentence)]
    if writing.pairs:
        said += [pairs_table(writing), measures_table(writing)]
    return said


_READING = (
    "A verdict makes two statements: what the model writes, and how it is wired. A model whose wiring is sound may "
    "still write badly. A cause is a failing check that no other failing check explains; causes are ordered by how "
    "much of what should be there is lost. A threshold is derived from the data, from asking the same thing twice, or "
    "from a closed form, never guessed. 'Not run' is not a pass, and neither is what is not a number. "
    "Intervals are two standard errors with texts as units."
)


def _finding(finding: Finding, explains: list[str]) -> Markup:
    drawing = draw(finding.plot, finding.title) if finding.plot is not None else None
    rows = [(name, _cell(value)) for name, value in plain(finding.numbers).items()]
    return fragment("finding.html", f=finding, word=WORD, explains=explains, drawing=drawing, rows=rows)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_cell(v) for v in value)
    return "-" if value is None else str(value)


def _tiles(verdict: Verdict) -> list[tuple[str, str, str]]:
    count = {s: sum(f.status == s for f in verdict.findings) for s in ("fail", "warn", "pass", "not_run")}
    return [
        ("failing", str(count["fail"]), f"{len(verdict.causes)} of them causes" if count["fail"] else ""),
        ("warnings", str(count["warn"]), ""),
        ("passing", str(count["pass"]), f"{count['not_run']} not run"),
        ("cost", f"{verdict.forwards:,}", f"forwards of one row, {verdict.seconds:.1f} s"),
    ]


def draw(spec: Plot, alt: str) -> Markup:
    """The SVG of a finding's plot."""
    with plot() as (figure, axes):
        if spec.kind == "bars":
            _bars(axes, spec)
        else:
            for i, (name, heights) in enumerate(spec.series.items()):
                x: Any = [a for a, h in zip(spec.x, heights, strict=True) if h is not None and math.isfinite(h)]
                y = [h for h in heights if h is not None and math.isfinite(h)]
                marker = MARKERS[i % len(MARKERS)] if len(y) < 30 else None
                axes.plot(x, y, marker=marker, linestyle="--" if name in spec.dashed else "-", label=_plain(name))
        axes.set_xlabel(_plain(spec.x_label))
        axes.set_ylabel(_plain(spec.y_label))
        if len(spec.series) > 1:
            axes.legend()
        with warnings.catch_warnings():
            # text stays text in the drawing, so a glyph that matplotlib's own font lacks is the reader's font's to show
            warnings.filterwarnings("ignore", message="Glyph")
            return figure_svg(figure, alt)


def _bars(axes: Any, spec: Plot) -> None:
    width = 0.8 / max(len(spec.series), 1)
    for i, (name, heights) in enumerate(spec.series.items()):
        places = [j + (i - (len(spec.series) - 1) / 2) * width for j in range(len(spec.x))]
        axes.bar(
            places,
            [h if h is not None and math.isfinite(h) else 0.0 for h in heights],
            width,
            label=_plain(name),
            hatch="///" if i else None,
        )
    long = any(len(str(x)) > 6 for x in spec.x) and len(spec.x) > 4
    axes.set_xticks(range(len(spec.x)), [_plain(str(x)) for x in spec.x], rotation=60 if long else 0)


def _plain(text: str) -> str:
    """matplotlib reads $ as mathematics."""
    return text.replace("$", r"\$")
