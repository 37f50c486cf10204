"""How many boards of a puzzle a model solves, and how many of the cells it fills in are right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from unmask.core.files import write_json
from unmask.core.render import page_of, save_page, view_of
from unmask.data.puzzles import PUZZLES, Puzzle, PuzzleBatch
from unmask.decoding.trace import Trace
from unmask.metrics.bootstrap import Interval, ratio_interval
from unmask.metrics.wilson import wilson


@dataclass(frozen=True)
class BoardScores:
    """Everything that was measured of one puzzle model on one set of boards.

    Attributes:
        made_of: the kind of boards.
        solved: share of the boards whose answer obeys every rule, with Wilson's interval.
        at_once: the same of the first attempts.
        cells: share of the hidden cells that hold the solution's value, resampled by boards; None where a question has
            several answers.
        boards: how many there were.
        hidden: cells that were filled in, all boards together.
        forwards: body passes a board took part in, mean.
        calls: checks against the rules that decided whether to try again, mean over boards.
        trace: who was unmasked when on the first board, or None.
        about: what was scored and how.
        notes: what a reader has to be told of the boards, one sentence each.
    """

    made_of: Puzzle
    solved: Interval
    at_once: Interval
    cells: Interval | None
    boards: int
    hidden: int
    forwards: float
    calls: float
    trace: Trace | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def puzzle(self) -> str:
        """The kind of boards with its settings, as text."""
        return PUZZLES.spec_of(self.made_of)

    @property
    def metrics(self) -> dict[str, float]:
        """Flat numbers, each with its unit in the key."""
        found: dict[str, float] = {"boards": self.boards, "hidden_cells": self.hidden}
        for key, share in (("solved", self.solved), ("solved_at_once", self.at_once), ("cells_right", self.cells)):
            if share is not None:
                found[f"{key}_share"] = share.value
                found[f"{key}_share_low"], found[f"{key}_share_high"] = share.low, share.high
        found |= {"forwards_per_board": self.forwards, "calls_per_board": self.calls}
        return {key: float(value) for key, value in found.items() if math.isfinite(value)}

    @property
    def not_measured(self) -> dict[str, str]:
        """What a reader might look for, and why it is not there."""
        if self.cells is not None:
            return {}
        return {"cells_right": "not measured: a question of this puzzle may have several answers"}

    def tables(self, samples: int = 5) -> list[Any]:
        """The tables for a :class:`rich.console.Console`."""
        return view_of(self, samples=samples)

    def page(self, title: str = "Evaluation") -> str:
        """The page as self-contained HTML."""
        return page_of(self, title=title)

    def save(self, path: str | Path, title: str = "Evaluation") -> Path:
        """Write ``metrics.json`` and ``report.html`` into a folder; returns the page's path.

        A path that ends in ``.html`` names the page, with ``metrics.json`` beside it.
        """
        path = Path(path)
        page = path if path.suffix == ".html" else path / "report.html"
        tree = {"metrics": self.metrics, "not_measured": self.not_measured, "notes": list(self.notes)}
        write_json(page.parent / "metrics.json", tree | {"about": dict(self.about)})
        return save_page(page, self.page(title))


def score_boards(
    puzzle: Puzzle, batch: PuzzleBatch, x_BL: Tensor, once_B: Tensor, *, forwards: float, calls: float, **said: Any
) -> BoardScores:
    """Scores of filled-in boards.

    Args:
        puzzle: judges them.
        batch: the boards with their answers.
        x_BL: the filled-in canvases.
        once_B: whether the first attempt obeyed every rule.
        forwards, calls, said: see :class:`BoardScores`.

    Raises:
        UsageError: there is no board.
    """
    right_B, hidden_BL = puzzle.correct(x_BL, batch), ~batch.given_BL
    cells = None
    if puzzle.one_answer:
        hits_BL = (x_BL == batch.answer_BL) & hidden_BL
        cells = ratio_interval(hits_BL.sum(1).numpy(), hidden_BL.sum(1).numpy())
    return BoardScores(
        puzzle,
        wilson(int(right_B.sum()), len(right_B)),
        wilson(int(once_B.sum()), len(once_B)),
        cells,
        len(batch),
        int(hidden_BL.sum()),
        forwards,
        calls,
        **said,
    )
