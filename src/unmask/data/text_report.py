"""What became of the rows of a source, in counts and in words."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from unmask.core import distributed

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextReport:
    """Counts of a source's rows: kept, changed and left out, by reason."""

    source: str
    read: int = 0
    train: int = 0
    validation: int = 0
    empty: int = 0
    over_long: int = 0
    not_utf8: int = 0
    malformed: int = 0
    duplicates: int = 0
    #: rows to train on that say what a held-out row says
    near_duplicates: int = 0
    #: rows kept after control characters were taken out of them
    control: int = 0
    #: how the rows were got at: what was unpacked, decoded or not read
    note: str = ""
    #: texts that were cut out of the rows to train on and out of those held out, by kind; empty where none were
    crops: Mapping[str, int] = field(default_factory=dict)
    held_out_crops: Mapping[str, int] = field(default_factory=dict)
    #: crops left out: of training rows as near-duplicates of held-out ones, of held-out rows as ones to train on
    near_duplicate_crops: int = 0
    repeated_crops: int = 0

    @property
    def kept(self) -> int:
        return self.train + self.validation

    @property
    def left_out(self) -> str:
        """The rows left out, by reason, in words; "" for none."""
        reasons = ("empty", "over_long", "not_utf8", "malformed", "duplicates", "near_duplicates")
        return ", ".join(f"{getattr(self, n):,} {n.replace('_', '-')}" for n in reasons if getattr(self, n))

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        parts = f" ({self.train:,} to train, {self.validation:,} held out)" if self.validation else ""
        out = f"; left out: {self.left_out}" if self.left_out else ""
        cleaned = f"; control characters removed from {self.control:,}" if self.control else ""
        return f"{self.source}{note}: {self.read:,} rows read, {self.kept:,} kept{parts}{out}{cleaned}{self._cut()}"

    def _cut(self) -> str:
        if not self.crops:
            return ""
        said = [
            f"{sum(counts.values()):,} texts {what} ({', '.join(f'{n:,} {kind}' for kind, n in counts.items())})"
            for what, counts in (("to train on", self.crops), ("held out", self.held_out_crops))
        ]
        dropped = [(self.near_duplicate_crops, "near-duplicates of held-out rows"), (self.repeated_crops, "repeated")]
        out = ", ".join(f"{count:,} {what}" for count, what in dropped if count)
        return f"; cut into {' and '.join(said)}" + (f", less {out}" if out else "")

    def announce(self) -> None:
        """Log one line where rows were left out or changed: no score stands for texts that it was not made from."""
        if (self.left_out or self.control or self.note) and distributed.is_main_process():
            _log.warning("%s", self)
