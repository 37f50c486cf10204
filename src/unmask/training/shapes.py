"""Values of settings as YAML, JSON and the command line give them."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from unmask.core.errors import UsageError
from unmask.training.names import meant_by, no_setting

#: settings that may be a list of names; how the parts are joined into the one word that Trainer reads, if they are
_LISTS = {"report_to": ",", "fsdp": " ", "debug": " ", "crops": ","}
#: settings of one word that are parts with names
_PAIRS = ("optim_args",)
_NOTHING = ("none", "null", "~")


class Kinds:
    """The types that the fields of some dataclasses may have.

    Args:
        classes: their fields are the settings.
    """

    def __init__(self, *classes: type) -> None:
        self.types: dict[str, Any] = {}
        for c in classes:
            self.types |= typing.get_type_hints(c)

    def parts(self, name: str) -> tuple[Any, ...]:
        """The types that a setting may have, None's left out."""
        kind = self.types[name]
        union = typing.get_origin(kind) in (typing.Union, types.UnionType)
        return tuple(k for k in (typing.get_args(kind) if union else (kind,)) if k is not type(None))

    def optional(self, name: str) -> bool:
        """Whether a setting may have no value."""
        return type(None) in typing.get_args(self.types[name])

    def mapping(self, name: str) -> bool:
        """Whether a setting is a mapping."""
        return any((typing.get_origin(k) or k) is dict for k in self.parts(name)) or name in _PAIRS

    def switch(self, name: str) -> bool:
        """Whether a setting is on or off."""
        return bool in self.parts(name)

    def whole(self, name: str) -> bool:
        """Whether a setting is a whole number."""
        return self.parts(name) == (int,)


def shaped(name: str, value: Any, kinds: Kinds) -> Any:
    """A setting's value as its field takes it: a text for everything that is one word, else a mapping, list or None.

    Args:
        name: of the setting.
        value: as it was given.
        kinds: of all settings.

    Raises:
        UsageError: a mapping or list where the setting is one word, or no value where there must be one.
    """
    text = value.strip() if isinstance(value, str) else None
    if value is None or (text is not None and text.lower() in _NOTHING and _no_text(name, kinds)):
        if not kinds.optional(name):
            raise UsageError(f"{name} needs a value, got {value!r}")
        return None
    if kinds.mapping(name) and text is not None and text.startswith("{"):
        value = _json(name, text)
    if isinstance(value, Mapping):
        return _mapping(name, value, kinds)
    if isinstance(value, (list, tuple)):
        if not value and any(typing.get_origin(k) is list for k in kinds.parts(name)):
            return []
        if name not in _LISTS or not all(isinstance(v, (str, bool)) for v in value):
            raise UsageError(f"{name} must be a single value, got {value!r:.120}")
        return _LISTS[name].join(str(v) for v in value) or None
    if kinds.mapping(name) and name.endswith("kwargs"):
        raise UsageError(f"{name}={value!r:.60} must be a mapping, such as {{name: value}}")
    if name == "include_num_input_tokens_seen":
        # a text or a switch, of which the parser knows the switch alone
        if str(value).lower() not in ("all", "true", "no", "false"):
            raise UsageError(f"{name}={value!r} must be 'all' (canvas positions, padding included) or 'no'")
        return str(str(value).lower() in ("all", "true"))
    if kinds.whole(name) and not isinstance(value, bool):
        return _whole(value)
    return str(value)


def _no_text(name: str, kinds: Kinds) -> bool:
    # 'none' is a name among others where a setting is one: report_to, conditioning, whiten
    return kinds.optional(name) and (str not in kinds.parts(name) or kinds.mapping(name))


def _whole(value: Any) -> str:
    """1e3 and 1000.0 are whole numbers too."""
    try:
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else str(value)
    except (TypeError, ValueError, OverflowError):
        return str(value)


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{name}={text[:60]!r} is not a JSON mapping: {error}") from error


def _mapping(name: str, value: Mapping[Any, Any], kinds: Kinds) -> Any:
    if not kinds.mapping(name):
        raise UsageError(
            f"{name} must be a single value, got {dict(value)!r:.120}: settings stand side by side, unnested"
        )
    if not all(isinstance(key, str) for key in value):
        raise UsageError(f"{name} must have names on its left sides, got {dict(value)!r:.120}")
    if name in _PAIRS:
        return ",".join(f"{key}={part}" for key, part in value.items()) or None
    return {key: _number(part) for key, part in value.items()}


def _number(value: Any) -> Any:
    """A number that was written as a text, such as YAML 1.1's 1e-5; everything else as it is."""
    if isinstance(value, Mapping):
        return {key: _number(part) for key, part in value.items()}
    if isinstance(value, str):
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                pass
        return {"true": True, "false": False}.get(value.lower(), value)
    return value


def read_flags(flags: Sequence[str], known: Sequence[str], kinds: Kinds) -> dict[str, Any]:
    """Settings from the words of a command line.

    Args:
        flags: such as ``["--max_steps", "100", "--bf16", "--report_to", "wandb", "tensorboard"]``.
        known: the settings there are.
        kinds: of all settings.

    Raises:
        UsageError: a word that is no flag, an unknown name, or a flag without the value that it needs.
    """
    values: dict[str, Any] = {}
    words = list(flags)
    while words:
        flag = words.pop(0)
        if not flag.startswith("--"):
            raise _no_flag(flag, known)
        name, equals, value = flag[2:].partition("=")
        name = name.replace("-", "_")
        if name not in known and name.startswith("no_") and name[3:] in known and kinds.switch(name[3:]) and not equals:
            values[name[3:]] = False
            continue
        if name not in known:
            raise no_setting(name, known)
        if equals:
            values[name] = value
        elif words and not words[0].startswith("--"):
            values[name] = words.pop(0)
            while name in _LISTS and words and not words[0].startswith("-"):
                values[name] = [*_listed(values[name]), words.pop(0)]
        elif kinds.switch(name):
            values[name] = True
        else:
            raise UsageError(f"--{name} needs a value: write --{name} value")
    return values


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _no_flag(word: str, known: Sequence[str]) -> UsageError:
    meant = meant_by(word.lstrip("-"), known) if word.startswith("-") else None
    hint = f"did you mean --{meant}?" if meant else "write --name value"
    return UsageError(f"{word!r} is not a flag: {hint}")
