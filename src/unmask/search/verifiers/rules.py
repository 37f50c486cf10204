"""A puzzle's own rules as the verifier of a board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from unmask.search.verifier import VerifierKind


@dataclass(frozen=True)
class RulesVerifierKind(VerifierKind):
    """A puzzle's own rules: a board that breaks one, or changes what was given, is written again."""

    checks: ClassVar[str] = "boards"
