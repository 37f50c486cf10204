"""Who was written when, with what confidence, and what else it might have been. Replays to the output.

A trace is a struct of arrays: one event a change of one position. It holds what the model said, not what it was asked:
probabilities are those of the model after guidance and repetition penalty, before temperature.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.files import write_text
from unmask.core.render import page_of, save_page, view_of

FORMAT = "unmask-trace-1"


class EventKind(IntEnum):
    """Why a position changed."""

    WRITE = 0
    REMASK = 1
    PAD = 2
    HOOK = 3


#: column name -> dtype; the order is the file's
EVENTS: dict[str, torch.dtype] = {
    "row": torch.int64,
    "step": torch.int64,
    "position": torch.int64,
    "kind": torch.int64,
    "value": torch.int64,
    "time": torch.float64,
    "probability": torch.float64,
    "margin": torch.float64,
    "rank": torch.int64,
    "runner_up": torch.int64,
    "runner_up_probability": torch.float64,
}
GUESSES: dict[str, torch.dtype] = {
    "row": torch.int64,
    "step": torch.int64,
    "position": torch.int64,
    "value": torch.int64,
    "probability": torch.float64,
}


class StepColumns:
    """Columns of equal length that grow by whole steps."""

    def __init__(self, columns: dict[str, torch.dtype]) -> None:
        self.columns = columns
        self._parts: dict[str, list[Tensor]] = {name: [] for name in columns}

    def add(self, **values: Tensor | int | float) -> None:
        """Append rows; plain numbers are repeated."""
        count = next(len(v) for v in values.values() if isinstance(v, Tensor))
        for name, dtype in self.columns.items():
            value = values.get(name, math.nan if dtype.is_floating_point else -1)
            column = value if isinstance(value, Tensor) else torch.full((count,), value, dtype=dtype)
            self._parts[name].append(column.detach().to("cpu", dtype))

    def __len__(self) -> int:
        return sum(len(p) for p in self._parts["row"])

    def __getitem__(self, name: str) -> Tensor:
        parts = self._parts[name]
        if len(parts) != 1:
            self._parts[name] = parts = [torch.cat(parts) if parts else torch.empty(0, dtype=self.columns[name])]
        return parts[0]

    def last(self) -> dict[str, list[Any]]:
        """The rows of the last :meth:`add`, as lists."""
        return {name: parts[-1].tolist() if parts else [] for name, parts in self._parts.items()}


@dataclass
class Trace:
    """A generation, event by event.

    Attributes:
        start_BL: the canvas before the first step, masked positions holding ``mask_id``.
        mask_id: the id of a masked position.
        plan: the plan's settings (:meth:`unmask.decoding.plan.DecodingPlan.to_dict`).
        events: columns of :data:`EVENTS`. ``step`` counts a row's own steps; ``rank`` is how many ids were more
            probable (0: the best was written); ``margin`` and ``runner_up`` speak of the two best ids; a column that
            does not apply (a remasked position has no rank) holds NaN or -1.
        guesses: with ``trace="full"``: at each step the best id and its probability at every candidate.
    """

    start_BL: Tensor
    mask_id: int
    plan: dict[str, Any] = field(default_factory=dict)
    events: StepColumns = field(default_factory=lambda: StepColumns(EVENTS))
    guesses: StepColumns = field(default_factory=lambda: StepColumns(GUESSES))

    def __len__(self) -> int:
        return len(self.events)

    @property
    def steps_B(self) -> Tensor:
        """Steps each row made that changed something."""
        steps_B = torch.zeros(len(self.start_BL), dtype=torch.int64)
        return steps_B.scatter_reduce_(0, self.events["row"], self.events["step"] + 1, "amax")

    @property
    def ids(self) -> set[int]:
        """Ids that are named anywhere in it, the mask left out."""
        columns = (self.start_BL, self.events["value"], self.events["runner_up"], self.guesses["value"])
        return {i for column in columns for i in column.flatten().tolist()} - {-1, self.mask_id}

    def replay(self, steps: int | None = None) -> Tensor:
        """The canvas [B, L] after this many steps of each row; the output when None."""
        out_BL = self.start_BL.clone()
        row, step = self.events["row"].tolist(), self.events["step"].tolist()
        position, value = self.events["position"].tolist(), self.events["value"].tolist()
        for r, s, p, v in zip(row, step, position, value, strict=True):
            if steps is None or s < steps:
                out_BL[r, p] = v
        return out_BL

    def select(self, rows: Sequence[int]) -> Trace:
        """The same trace with these rows only, renumbered in this order."""
        place = torch.full((len(self.start_BL),), -1, dtype=torch.int64)
        place[torch.tensor(list(rows), dtype=torch.int64)] = torch.arange(len(rows))
        out = Trace(self.start_BL[list(rows)], self.mask_id, dict(self.plan))
        for source, target in ((self.events, out.events), (self.guesses, out.guesses)):
            kept = place[source["row"]] >= 0
            columns = {name: source[name][kept] for name in source.columns}
            target.add(**{**columns, "row": place[columns["row"]]})
        return out

    @classmethod
    def join(cls, traces: Sequence[Trace]) -> Trace:
        """The traces of several batches of one generation as one, rows numbered on.

        Raises:
            UsageError: no trace, or canvases of different lengths or mask ids.
        """
        if len({(t.start_BL.shape[1], t.mask_id) for t in traces}) != 1:
            raise UsageError(f"{len(traces)} traces cannot be joined: they need one canvas length and one mask id")
        out = cls(torch.cat([t.start_BL for t in traces]), traces[0].mask_id, dict(traces[0].plan))
        first = 0
        for trace in traces:
            for source, target in ((trace.events, out.events), (trace.guesses, out.guesses)):
                if len(source):
                    target.add(**{name: source[name] + (first if name == "row" else 0) for name in source.columns})
            first += len(trace.start_BL)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers; NaN becomes None."""
        return {
            "format": FORMAT,
            "mask_id": self.mask_id,
            "plan": self.plan,
            "start": self.start_BL.tolist(),
            "events": _lists(self.events),
            "guesses": _lists(self.guesses),
        }

    def save(self, path: str | Path) -> Path:
        """Write JSON, atomically; :meth:`load` reads it."""
        return write_text(path, json.dumps(self.to_dict(), allow_nan=False))

    def html(self, piece: Callable[[int], str] | None = None, **settings: Any) -> str:
        """An animated page that needs nothing else (see :func:`unmask.reporting.trace.page`)."""
        return page_of(self, piece=piece, **settings)

    def to_html(self, path: str | Path, piece: Callable[[int], str] | None = None, **settings: Any) -> Path:
        """Write :meth:`html` to a file."""
        return save_page(path, self.html(piece, **settings))

    def to_terminal(self, piece: Callable[[int], str], *, row: int = 0, delay: float = 0.15) -> None:
        """Play one row in the terminal (see :func:`unmask.reporting.live.show`)."""
        view_of(self, piece=piece, row=row, delay=delay)

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read what :meth:`save` wrote.

        Raises:
            UsageError: no such file, not JSON, not a trace, or columns that do not fit each other.
        """
        path = Path(path)
        if not path.is_file():
            raise UsageError(f"{path} is not a file: give a trace written by Trace.save")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise UsageError(f"{path} is not JSON ({error}): give a trace written by Trace.save") from error
        return cls.from_dict(data, str(path))

    @classmethod
    def from_dict(cls, data: Any, where: str = "the trace") -> Trace:
        """The inverse of :meth:`to_dict`; checks every column."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise UsageError(f"{where} is not a trace of format {FORMAT!r}: give a file written by Trace.save")
        start = data.get("start")
        if not _is_grid(start) or not _is_id(data.get("mask_id")):
            raise UsageError(f"{where} has no rectangular 'start' of ids with a whole 'mask_id'")
        start_BL = torch.tensor(start, dtype=torch.int64)
        plan = data.get("plan")
        trace = cls(start_BL, data["mask_id"], plan if isinstance(plan, dict) else {})
        for name, table in (("events", trace.events), ("guesses", trace.guesses)):
            _read(table, data.get(name), f"{where}: {name}", start_BL)
        return trace


def _lists(table: StepColumns) -> dict[str, list[Any]]:
    return {
        name: [None if isinstance(v, float) and math.isnan(v) else v for v in table[name].tolist()]
        for name in table.columns
    }


def _is_grid(start: Any) -> bool:
    return (
        isinstance(start, list)
        and bool(start)
        and all(isinstance(r, list) and len(r) == len(start[0]) and all(_is_id(v) for v in r) for r in start)
    )


def _is_id(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63


def _read(table: StepColumns, columns: Any, where: str, start_BL: Tensor) -> None:
    if not isinstance(columns, dict) or set(columns) != set(table.columns):
        raise UsageError(f"{where} must have the columns {', '.join(table.columns)}")
    sizes = {len(c) if isinstance(c, list) else -1 for c in columns.values()}
    if len(sizes) != 1 or -1 in sizes:
        raise UsageError(f"{where} has columns of different lengths")
    values = {}
    for name, dtype in table.columns.items():
        wanted = (int, float, type(None)) if dtype.is_floating_point else (int,)
        bad = next(
            (
                v
                for v in columns[name]
                if not isinstance(v, wanted) or (type(v) is not float and v is not None and not _is_id(v))
            ),
            "",
        )
        if bad != "":
            raise UsageError(
                f"{where}.{name} holds {bad!r}, which is no {'number' if len(wanted) > 1 else 'whole number'}"
            )
        values[name] = torch.tensor([math.nan if v is None else v for v in columns[name]], dtype=dtype)
    for name, limit in zip(("row", "position"), start_BL.shape, strict=True):
        outside = values[name][(values[name] < 0) | (values[name] >= limit)]
        if len(outside):
            raise UsageError(f"{where}.{name} holds {int(outside[0])}, outside 0..{limit - 1}")
    table.add(**values)
