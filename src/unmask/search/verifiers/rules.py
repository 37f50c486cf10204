"""A puzzle's own rules as the verifier of a board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from unmask.core.verifier import Checked
from unmask.search.verifier import VerifierKind


@dataclass(frozen=True)
class RulesVerifierKind(VerifierKind):
    """A puzzle's own rules: a board that breaks one, or changes what was given, is written again."""

    checks: ClassVar[str] = "boards"


class RulesVerifier:
    """Accepts boards that obey every rule.

    Args:
        right: which of several boards (their cells' ids) do, each with the number of its row.
    """

    def __init__(self, right: Callable[[list[list[int]], Sequence[int]], Sequence[bool]]) -> None:
        self._right = right

    def key(self, text: str) -> str:
        """The board itself."""
        return text

    def check(self, texts: Sequence[str], rows: Sequence[int]) -> Checked:
        """Boards as ids with a space between; see :class:`unmask.core.verifier.Verifier`."""
        found = list(self._right([[int(word) for word in text.split()] for text in texts], rows))
        return Checked([float(ok) for ok in found], found, [1] * len(found))
