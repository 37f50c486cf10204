"""What counts as a word, and what as an n-gram, wherever a metric needs one."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence

from unmask.core.errors import UsageError

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


def word_tokens(text: str) -> list[str]:
    """Lower-cased runs of letters and digits, apostrophes inside kept; punctuation is left out."""
    return _WORD.findall(text.lower())


def ngrams(sequence: Sequence[Hashable], n: int) -> Iterator[tuple[Hashable, ...]]:
    """Every run of ``n`` items, in order; none where the sequence is shorter.

    Raises:
        UsageError: ``n`` below 1.
    """
    if n < 1:
        raise UsageError(f"n={n} must be at least 1")
    return zip(*(sequence[i:] for i in range(n)), strict=False)


def same_count(hypotheses: Sequence[object], references: Sequence[object]) -> None:
    """Refuse texts that do not pair up.

    Raises:
        UsageError: as many hypotheses as references are needed.
    """
    if len(hypotheses) != len(references):
        raise UsageError(f"{len(hypotheses)} hypotheses cannot be compared with {len(references)} references")
