"""JSON as the verifier: the text is to parse, and to be what a schema asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from unmask.core.errors import MissingExtra, UsageError, first_line
from unmask.core.verifier import Checked, Verifier
from unmask.search.verifier import VerifierKind
from unmask.search.verifiers.regex import graded


@dataclass(frozen=True)
class JsonVerifierKind(VerifierKind):
    """A text that is one JSON object or array, or whatever a schema asks for.

    Attributes:
        schema: a JSON schema: a file, or the schema itself as a mapping.
    """

    checks: ClassVar[str] = "texts that are JSON"
    takes: ClassVar[tuple[str, ...]] = ("schema",)
    schema: Any = None

    def verifier(self, before: Sequence[str]) -> Verifier:
        return JsonVerifier(None if self.schema is None else _validator(self.schema))


class JsonVerifier:
    """Accepts a text that is JSON; with a validator also one that keeps to its schema.

    Args:
        validator: of the package ``jsonschema``, or None for any object or array.
    """

    def __init__(self, validator: Any = None) -> None:
        self.validator = validator

    def key(self, text: str) -> str:
        """The text itself."""
        return text

    def check(self, texts: Sequence[str], rows: Sequence[int]) -> Checked:
        """Scores by how much parses, then by the schema's errors; see :class:`unmask.core.verifier.Verifier`."""
        found = [self._one(text) for text in texts]
        return Checked(
            [score for score, _ in found],
            [score == 1.0 for score, _ in found],
            [1] * len(texts),
            blame_N=[blame for _, blame in found],
        )

    def _one(self, text: str) -> tuple[float, tuple[int, int] | None]:
        try:
            value = json.loads(text, parse_constant=_refused)
        except json.JSONDecodeError as error:
            # of a string that nobody closed all characters may stay
            at = len(text) if error.msg.startswith("Unterminated string") else error.pos
            return graded(at, len(text)) / 2, (at, len(text))
        except (ValueError, RecursionError):  # NaN and Infinity, which no JSON has; more brackets than can be read
            return 0.0, None
        if self.validator is None:
            return (1.0, None) if isinstance(value, (dict, list)) else (0.5, (0, len(text)))
        try:
            errors = list(self.validator.iter_errors(value))
        except Exception as error:  # a reference that leads nowhere: each version has a class of its own for it
            raise UsageError(f"schema= cannot be followed: {first_line(error)}") from error
        if not errors:
            return 1.0, None
        return 0.5 + 0.5 / (2 + len(errors)), _place(text, errors[0])


def _validator(schema: Any) -> Any:
    try:
        import jsonschema
    except ImportError as error:
        raise MissingExtra(
            "schema= needs the package jsonschema, which is not installed: pip install 'unmask[json]'"
        ) from error
    where = "schema="
    if isinstance(schema, (str, Path)):
        where = f"schema={str(schema)!r}"
        try:
            schema = json.loads(Path(schema).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UsageError(f"{where}: there is no such file") from error
        except (OSError, ValueError) as error:
            raise UsageError(f"{where} cannot be read as JSON: {first_line(error)}") from error
    if not isinstance(schema, (Mapping, bool)):
        raise UsageError(f"{where} must hold a JSON schema, which is an object, not a {type(schema).__name__}")
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise UsageError(f"{where} is no JSON schema: {first_line(error.message)}") from error
    return kind(schema)


def _place(text: str, error: Any) -> tuple[int, int] | None:
    """The characters of the value that a schema refuses, where its spelling stands in the text once."""
    spelt = json.dumps(error.instance, ensure_ascii=False)
    if text.count(spelt) != 1:
        return None
    return text.index(spelt), text.index(spelt) + len(spelt)


def _refused(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")
