"""A regular expression as the verifier: the whole text is to match, and a longer beginning that can is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import regex

from unmask.core.errors import UsageError
from unmask.core.verifier import Checked, Verifier
from unmask.search.verifier import VerifierKind

#: a pattern that needs longer for one text is given up, seconds
_TIMEOUT = 2.0


@dataclass(frozen=True)
class RegexVerifierKind(VerifierKind):
    """A regular expression that the whole text is to match.

    Attributes:
        pattern: the expression, in the syntax of the package ``regex``, which reads that of ``re``.
    """

    checks: ClassVar[str] = "texts against a pattern"
    takes: ClassVar[tuple[str, ...]] = ("pattern",)
    pattern: str = ""

    def verifier(self, before: Sequence[str]) -> Verifier:
        if not self.pattern:
            raise UsageError("verify='regex' needs a regular expression: give it as pattern= (--pattern)")
        try:
            return RegexVerifier(regex.compile(self.pattern))
        except regex.error as error:
            raise UsageError(f"pattern={self.pattern!r} is no regular expression: {error}") from error


class RegexVerifier:
    """Accepts a text that a pattern matches from its first to its last character.

    Args:
        pattern: compiled by the package ``regex``.
    """

    def __init__(self, pattern: Any) -> None:
        self.pattern = pattern

    def key(self, text: str) -> str:
        """The text itself."""
        return text

    def check(self, texts: Sequence[str], rows: Sequence[int]) -> Checked:
        """Scores by how long a beginning can still become a match; see :class:`unmask.core.verifier.Verifier`."""
        reach = [self._reach(text) for text in texts]
        right = [n > len(text) for n, text in zip(reach, texts, strict=True)]
        pairs = list(zip(reach, texts, right, strict=True))
        scores = [1.0 if ok else graded(n, len(text)) for n, text, ok in pairs]
        blame = [None if ok else (n, len(text)) for n, text, ok in pairs]
        return Checked(scores, right, [1] * len(texts), blame_N=blame)

    def _reach(self, text: str) -> int:
        """Characters of the longest beginning that a match may have; one more than there are for a match."""
        if self._fits(text, False):
            return len(text) + 1
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._fits(text[:middle], True) else (low, middle - 1)
        return low

    def _fits(self, text: str, partial: bool) -> bool:
        try:
            return self.pattern.fullmatch(text, partial=partial, timeout=_TIMEOUT) is not None
        except TimeoutError as error:
            raise UsageError(
                f"pattern={self.pattern.pattern!r} takes more than {_TIMEOUT:g} s for a text of {len(text)} "
                "characters: write it without nested repetitions"
            ) from error


def graded(reach: int, length: int) -> float:
    """A score below 1 that rises with how far a text is right, and of two that are right as far prefers the shorter."""
    return 1 - (1 - 1 / ((reach + 3) * (1 + length - reach))) / (reach + 1)
