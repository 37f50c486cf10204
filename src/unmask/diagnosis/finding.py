"""What a check found, as plain data: the terminal, the page and the JSON file show the same tree."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Status = Literal["pass", "warn", "fail", "not_run"]
#: from good to bad; a verdict is as bad as its worst finding. "not run" is neither
RANK: dict[str, int] = {"not_run": 0, "pass": 1, "warn": 2, "fail": 3}


@dataclass(frozen=True)
class Plot:
    """A plot as numbers.

    Attributes:
        kind: lines or bars.
        x: where; text for bars.
        series: name -> heights (None leaves a gap).
        x_label, y_label: what is drawn.
        dashed: names of series drawn as references.
    """

    kind: Literal["lines", "bars"]
    x: list[float] | list[str]
    series: dict[str, list[float | None]]
    x_label: str
    y_label: str
    dashed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One check's result.

    Attributes:
        status: ``pass``, ``warn``, ``fail`` or ``not_run``.
        check, title, fault: which check; what it asks, in a user's words; what a failure means.
        measured, threshold: in words with numbers and units.
        why: one sentence on why it matters, or why the check was not run.
        next_step: what to do.
        numbers: everything measured.
        plot: what to draw.
        share: how much of what should be there is lost, 0 to 1: the size of the fault, for ranking.
        own: True if what was measured cannot be another fault's consequence, so that this is a cause whatever else
        fails.
        repair: what would put it right, a key of :data:`unmask.diagnosis.repair.REPAIRS`; "" where nothing has to be.
        explains: checks that this very finding explains, beside those that the check explains in general.
        forwards: rows x network calls that this check cost; a measurement shared with an earlier check costs nothing.
        seconds: wall time.
    """

    status: Status
    check: str = ""
    title: str = ""
    fault: str = ""
    measured: str = ""
    threshold: str = ""
    why: str = ""
    next_step: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    plot: Plot | None = None
    share: float = 0.0
    own: bool = False
    explains: tuple[str, ...] = ()
    repair: str = ""
    forwards: int = 0
    seconds: float = 0.0

    def tree(self) -> dict[str, Any]:
        """For JSON: finite numbers, or text for those that are not."""
        return plain(asdict(self))  # type: ignore[no-any-return]


def plain(value: Any) -> Any:
    """Numbers that JSON cannot hold become text; tuples become lists."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def sound(finding: Finding) -> Finding:
    """The finding itself; a warning instead of a pass that rests on NaN or infinity, as comparisons with these say no.

    What is infinite or not a number in ``numbers``, ``share`` or the words of ``measured`` counts, whatever the check
    itself made of it; a finding that fails or was not run is left as it is.
    """
    if finding.status != "pass":
        return finding
    odd = _odd({"share": finding.share, **finding.numbers})
    if odd is None and (found := _ODD_WORD.search(finding.measured)):
        odd = f"measured: {found[0]}"
    if odd is None:
        return finding
    return replace(
        finding,
        status="warn",
        why=f"What was measured is not a number ({odd}), so this question has no answer.",
        next_step="Look for texts or rows with nothing to score, and for tokens that the model gives no probability.",
    )


#: NaN and infinity as a format prints them
_ODD_WORD = re.compile(r"(?<![\w.])[+-]?(?:nan|inf)(?!\w)", re.IGNORECASE)


def _odd(value: Any, name: str = "") -> str | None:
    """Where NaN or infinity is among some numbers, and which; None if it is not."""
    if isinstance(value, dict):
        return next((found for k, v in value.items() if (found := _odd(v, str(k)))), None)
    if isinstance(value, (list, tuple)):
        return next((found for v in value if (found := _odd(v, name))), None)
    return f"{name}: {value}" if isinstance(value, float) and not math.isfinite(value) else None


def worst(statuses: Sequence[Status]) -> Status:
    """The worst of some; ``not_run`` if none was run."""
    return max(statuses, key=lambda s: RANK[s], default="not_run")


def clip_share(value: float) -> float:
    """Into [0, 1]; what is not a number counts as everything."""
    return 1.0 if math.isnan(value) else min(max(value, 0.0), 1.0)
