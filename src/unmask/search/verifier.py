"""The verifiers that can be named, one file each in :mod:`unmask.search.verifiers`."""

from __future__ import annotations

from typing import ClassVar

from unmask.core.registry import Leaf, Registry


class VerifierKind(Leaf):
    """A verifier by name, with its settings; what it checks is bound to it by the family of models that it is for.

    Attributes:
        checks: what it is for, in words.
    """

    reference: ClassVar[str] = "this project"
    checks: ClassVar[str]


verifiers: Registry[VerifierKind] = Registry("verifier", "unmask.search.verifiers", VerifierKind)  # type: ignore[type-abstract]
