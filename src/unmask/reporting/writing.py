"""What a model writes, as tables: the first statement of a verdict, in the terminal and on its page."""

from __future__ import annotations

import math

from unmask.diagnosis.finding import Status
from unmask.diagnosis.measure import Measure
from unmask.diagnosis.statistics import Mean
from unmask.diagnosis.writing import WritingReport
from unmask.reporting.page import PageTable

WORD: dict[Status, str] = {"pass": "pass", "warn": "warn", "fail": "FAIL", "not_run": "not judged"}


def pairs_table(writing: WritingReport) -> PageTable:
    """What was asked, or held-out text, beside what was written."""
    first = "asked for" if writing.asked else "held-out text"
    rows = [(pair.asked, pair.written) for pair in writing.pairs]
    note = "" if writing.asked else "Nothing was asked for: the two stand side by side to be compared as wholes."
    return PageTable("What it writes", (first, "written"), rows, align="ll", note=note)


def measures_table(writing: WritingReport) -> PageTable:
    """The numbers, each beside held-out text and what is worth nothing."""
    rows = [
        (m.name, mean_cell(m.written), mean_cell(m.data), _yardstick(m), WORD[m.status])
        for m in sorted(writing.measures, key=lambda m: ("fail", "warn", "pass", "not_run").index(m.status))
    ]
    columns = ("measure", "written", "held-out text", "yardstick", "")
    return PageTable("How far off it is", columns, rows, align="lrrll", note=_note(writing))


def _note(writing: WritingReport) -> str:
    said = [f"{writing.texts} texts, written with {writing.plan}." if writing.plan else f"{writing.texts} texts."]
    said.append("Two standard errors behind ±. FAIL: beyond the yardstick, which is worth nothing; warn: beyond A/A.")
    return " ".join(said)


def _yardstick(measure: Measure) -> str:
    if measure.yardstick is None:
        return "–"
    return f"{mean_cell(measure.yardstick)}: {measure.yardstick_of}"


def mean_cell(mean: Mean | None) -> str:
    """A mean with two standard errors; a dash where there is none."""
    if mean is None or math.isnan(mean.value):
        return "–"
    digits = 3 if abs(mean.value) < 10 else 1
    error = f" ± {2 * mean.error:.{digits}f}" if math.isfinite(mean.error) else ""
    return f"{mean.value:.{digits}f}{error}"
