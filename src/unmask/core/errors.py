"""Errors a user can act on: one sentence with the offending value and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UnmaskError(Exception):
    """Something failed that is not the caller's fault; the CLI prints it and exits 1."""


class UsageError(UnmaskError, ValueError):
    """Bad input: a value, a name, a file. The CLI prints it and exits 2."""


class MissingExtra(UsageError):
    """An optional dependency is not installed; the message says what to install."""


class CheckpointError(UsageError):
    """A checkpoint is missing, damaged, foreign, or does not fit its configuration."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint such as `` did you mean 'margin'?``, or the list of known names when none is near.

    Args:
        name: what was asked for.
        known: the names that exist.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return "known: " + ", ".join(known) if known else "none is known"


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
