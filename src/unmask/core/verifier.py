"""The contract of what checks a text that was written: by its vector, by rules, by calculating, by a pattern."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Checked:
    """A verifier's scores of texts, and which of them it accepts.

    Attributes:
        score_N: how right each is; 1 is wholly right.
        accepted_N: whether each passes.
        calls_N: what each cost, in calls of the verifier.
        vector_NZ: the vector of each text, of a verifier that compares vectors; else None.
        blame_N: of each text the (start, end) of the characters that are at fault, where that can be said; else None.
    """

    score_N: Sequence[float]
    accepted_N: Sequence[bool]
    calls_N: Sequence[int]
    vector_NZ: Tensor | None = None
    blame_N: Sequence[tuple[int, int] | None] | None = None


class Verifier(Protocol):
    """Checks texts against what each is to be."""

    def key(self, text: str) -> str:
        """The same for texts that the verifier cannot tell apart: only one of them is checked."""
        ...

    def check(self, texts: Sequence[str], rows: Sequence[int]) -> Checked:
        """Scores of texts, each checked against the target of its row."""
        ...
