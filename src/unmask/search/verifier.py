"""The verifiers that can be named, one file each in :mod:`unmask.search.verifiers`, and what a config asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from unmask.core.errors import UsageError
from unmask.core.registry import Leaf, Registry, spec_of
from unmask.core.sampling_config import SamplingConfig
from unmask.core.verifier import Verifier

#: settings of a generation that say what to check, and what bounds the search
ASKED, BOUNDS = ("pattern", "schema"), ("calls", "forwards", "seconds")
SEARCHED = frozenset({"verify", *ASKED, *BOUNDS})


class VerifierKind(Leaf):
    """A verifier by name, with its settings.

    Attributes:
        checks: what it is for, in words.
        takes: which settings of a generation (``pattern``, ``schema``) are settings of it.
    """

    reference: ClassVar[str] = "this project"
    checks: ClassVar[str]
    takes: ClassVar[tuple[str, ...]] = ()

    def verifier(self, before: Sequence[str]) -> Verifier | None:
        """What checks texts that are written behind others.

        Args:
            before: what stands before the text of each row; "" where nothing does.

        Returns:
            None where more than texts is needed (a vector, a board), which the family of models has.

        Raises:
            UsageError: a setting is missing or wrong.
        """
        return None


verifiers: Registry[VerifierKind] = Registry("verifier", "unmask.search.verifiers", VerifierKind)  # type: ignore[type-abstract]


def verifier_of(config: SamplingConfig) -> VerifierKind | Verifier | None:
    """What a config asks for: a kind with its settings, a verifier of the user's own, or None.

    Raises:
        UsageError: no such verifier, an object that is none, or a setting without effect.
    """
    if config.verify is None:
        vain = [name for name in (*ASKED, *BOUNDS) if getattr(config, name) is not None]
        if vain:
            words = f"{vain[0]}={getattr(config, vain[0])!r} has no effect without verify="
            raise UsageError(words + ("a verifier" if vain[0] in BOUNDS else repr(_taker(vain[0]))))
        return None
    given = {name: getattr(config, name) for name in ASKED if getattr(config, name) is not None}
    if not isinstance(config.verify, (str, VerifierKind)):
        if not all(callable(getattr(config.verify, name, None)) for name in ("key", "check")):
            raise UsageError(
                f"verify={config.verify!r} is no verifier: give a name (unmask list verifiers) or an object with "
                "key(text) and check(texts, rows)"
            )
        takes: tuple[str, ...] = ()
        found: Any = config.verify
    else:
        found = verifiers.make(config.verify)
        takes = found.takes
    for name, value in given.items():
        if name not in takes:
            raise UsageError(f"{name}={value!r} has no effect on verify={named(config)!r}, only on {_taker(name)!r}")
    return replace(found, **given) if given else found


def text_verifier(config: SamplingConfig, before: Sequence[str], who: str) -> Verifier | None:
    """What checks the texts of a model that writes nothing but texts, or None where no verifier is asked for.

    Args:
        config: with ``verify`` and its settings.
        before: what stands before the text of each row.
        who: the model in words.

    Raises:
        UsageError: see :func:`verifier_of`; or a verifier of something else.
    """
    found = verifier_of(config)
    if not isinstance(found, VerifierKind):
        return found
    made = found.verifier(before)
    if made is None:
        raise UsageError(f"verify={named(config)!r} checks {found.checks}, and nothing of that kind is asked of {who}")
    return made


def named(config: SamplingConfig) -> str:
    """The verifier of a config as reports call it."""
    own = config.verify
    return own if isinstance(own, str) else spec_of(own) if isinstance(own, Leaf) else type(own).__name__


def _taker(setting: str) -> str:
    """The verifier that a setting is for."""
    return next(name for name in verifiers if setting in verifiers.get(name).takes)
