"""One file adds a leaf: the file's name is its key on the command line, its dataclass fields are its settings.

A registry belongs to a package folder. Every module in it (but those whose name starts with ``_``) defines one leaf:
a frozen dataclass that derives from the registry's base. Leaves from elsewhere are added with
:meth:`Registry.register`, or by an entry point in the group ``unmask.<kind>``.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
import sys
import weakref
from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata
from typing import Any, ClassVar, Generic, TypeVar, cast

from unmask.core.errors import UsageError, did_you_mean


class Leaf:
    """Base of everything a registry holds. Subclasses are frozen dataclasses; their fields are their settings."""

    #: where the method comes from: an arXiv id, a DOI, or "this project"
    reference: ClassVar[str] = ""

    @classmethod
    def examples(cls) -> list[Any]:
        """Instances that the contract tests run: the defaults, and each setting away from its default."""
        return [cls()]


T = TypeVar("T", bound=Leaf)
#: what a setting may be
Value = bool | int | float | str | list[Any] | dict[Any, Any] | tuple[Any, ...] | Leaf | None
#: the default of a setting without one
REQUIRED = inspect.Parameter.empty
_SPEC = re.compile(r"^(?P<name>[A-Za-z0-9_\-]+)(?::(?P<settings>.+))?$")


#: names of leaves that were registered by hand
_GIVEN: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()


def name_of(leaf: type[Leaf]) -> str:
    """The key of a leaf's class in its registry: the name it was registered under, else its file's."""
    return _GIVEN.get(leaf) or leaf.__module__.rsplit(".", 1)[-1]


def spec_of(leaf: Leaf, name: str | None = None) -> str:
    """The shortest string that its registry's :meth:`Registry.make` turns back into ``leaf``."""
    fields = dataclasses.fields(cast(Any, leaf))
    changed = [f"{f.name}={getattr(leaf, f.name)}" for f in fields if getattr(leaf, f.name) != f.default]
    return (name or name_of(type(leaf))) + (":" + ",".join(changed) if changed else "")


def declared(group: str) -> metadata.EntryPoints:
    """The entry points of a group, of all packages that can be imported."""
    return _declared(tuple(sys.path)).select(group=group)  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _declared(_path: tuple[str, ...]) -> Any:
    # every look reads a file of each package that is installed, and a sample asks twenty times
    return metadata.entry_points()


class Registry(Generic[T]):
    """The leaves of one kind, discovered by file name and loaded when asked for.

    A registry of another library's classes is a subclass that overrides :meth:`names` and :meth:`get`, and
    :meth:`settings`, :meth:`coerce` and :meth:`reference` where they differ.

    Args:
        kind: singular noun for messages ("order").
        package: dotted name of the folder that holds one leaf a file.
        base: the class each leaf derives from.
    """

    #: what messages write for a setting that has no default
    shown: ClassVar[dict[str, str]] = {}

    def __init__(self, kind: str, package: str, base: type[T]) -> None:
        self.kind, self.package, self._base = kind, package, base
        self._extra: dict[str, type[T]] = {}

    @property
    def base(self) -> type[T]:
        """The class each leaf derives from."""
        return self._base

    def names(self) -> list[str]:
        """Every key, sorted. Nothing but the folder listing is read."""
        folder = importlib.import_module(self.package).__path__
        own = [m.name for m in pkgutil.iter_modules(folder) if not m.name.startswith("_")]
        points = [p.name for p in declared(f"unmask.{self.kind}")]
        return sorted({*own, *points, *self._extra})

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def key(self, name: str) -> str:
        """A name as :meth:`names` has it."""
        return name.replace("-", "_")

    def get(self, name: str) -> type[T]:
        """The leaf class called ``name``.

        Raises:
            UsageError: no such leaf; the message names the nearest one.
        """
        key = self.key(name)
        if key in self._extra:
            return self._extra[key]
        if key not in self.names():
            raise UsageError(f"no {self.kind} is called {name!r}: {did_you_mean(key, self.names())}")
        for point in declared(f"unmask.{self.kind}"):
            if point.name == key:
                return self.register(point.load(), name=key)
        module = importlib.import_module(f"{self.package}.{key}")
        found = [
            c
            for c in vars(module).values()
            if inspect.isclass(c)
            and issubclass(c, self.base)
            and c is not self.base
            and c.__module__ == module.__name__
            and not c.__name__.startswith("_")
        ]
        if len(found) != 1:
            raise TypeError(f"{module.__name__} must define exactly one {self.base.__name__}, found {len(found)}")
        return cast("type[T]", found[0])

    def register(self, leaf: type[T], name: str) -> type[T]:
        """Add a leaf from outside the package under ``name``; returns it, so that it can be used as a decorator.

        Raises:
            UsageError: ``leaf`` does not derive from the registry's base, or the name is taken by another leaf.
        """
        if not (inspect.isclass(leaf) and issubclass(leaf, self.base)):
            raise UsageError(f"{leaf!r} is not a {self.base.__name__}, so it cannot be registered as a {self.kind}")
        if not dataclasses.is_dataclass(leaf):
            raise UsageError(f"{leaf.__name__} must be a frozen dataclass: its fields are its settings")
        if self._extra.get(name, leaf) is not leaf:
            raise UsageError(f"a {self.kind} called {name!r} exists already; choose another name")
        self._extra[name] = leaf
        _GIVEN[leaf] = name
        return leaf

    def unregister(self, name: str) -> None:
        """Forget a leaf added with :meth:`register`."""
        self._extra.pop(name, None)

    def make(self, spec: str | T, **settings: Any) -> T:
        """An instance from ``"name"``, ``"name:field=value,field=value"``, or an instance (returned as it is).

        Args:
            spec: the name, with settings behind a colon if wanted.
            settings: further settings; they win over those in ``spec``.

        Raises:
            UsageError: unknown name, unknown setting, or a value of the wrong type.
        """
        if isinstance(spec, self.base):
            return dataclasses.replace(cast(Any, spec), **settings) if settings else spec
        name, given = self.read(spec)
        cls = self.get(name)
        values, known = {**given, **settings}, self.settings(cls)
        for key, value in values.items():
            if key not in known:
                raise UsageError(f"{self.kind} {name!r} has no setting {key!r}: {did_you_mean(key, known)}")
            values[key] = self.coerce(value, key, known[key], f"{self.kind} {name}:{key}")
        for key, default in known.items():
            if default is REQUIRED and key not in values:
                raise UsageError(f"{self.kind} {name!r} needs {key}: write {name}:{key}={self.shown.get(key, '...')}")
        return cls(**values)

    def read(self, spec: Any) -> tuple[str, dict[str, Any]]:
        """The name and the settings, as text, of ``"name:field=value,field=value"``.

        Raises:
            UsageError: anything else.
        """
        match = _SPEC.match(spec.strip()) if isinstance(spec, str) else None
        if match is None:
            raise UsageError(f"{spec!r} does not name a {self.kind}: write name or name:setting=value,setting=value")
        name, values = match["name"], {}
        for part in filter(None, (match["settings"] or "").split(",")):
            key, equals, value = part.partition("=")
            if not equals:
                raise UsageError(f"setting {part!r} of {self.kind} {name!r} has no value: write {part}=value")
            values[key.strip()] = value.strip()
        return name, values

    def settings(self, leaf: type[T]) -> dict[str, Any]:
        """Setting -> default of a leaf's class, :data:`REQUIRED` where it has none."""
        fields = dataclasses.fields(cast(Any, leaf))
        made = {f.name: f.default_factory() for f in fields if f.default_factory is not dataclasses.MISSING}
        given = inspect.signature(leaf).parameters.values()
        return {p.name: made.get(p.name, p.default) for p in given if p.kind is not p.VAR_KEYWORD}

    def coerce(self, value: Any, key: str, default: Any, where: str) -> Value:
        """Text from the command line to the type of a setting's default; other values pass through.

        Raises:
            UsageError: text that does not say such a value.
        """
        if not isinstance(value, str) or isinstance(default, str):
            return value
        literal = read_literal(value)
        if isinstance(default, bool) and not isinstance(literal, bool):
            raise UsageError(f"{where}={value} is not a truth value: write true or false")
        if isinstance(default, (int, float)) and (isinstance(literal, str) or literal is None):
            raise UsageError(f"{where}={value} is not a number: its default is {default}")
        if isinstance(default, float) and isinstance(literal, int):
            return float(literal)
        if type(default) is int and isinstance(literal, float):
            raise UsageError(f"{where}={value} must be a whole number: its default is {default}")
        return literal

    def reference(self, leaf: type[T]) -> str:
        """Where the method of a leaf's class comes from."""
        return leaf.reference or "-"

    def name_of(self, leaf: T | type[T]) -> str:
        """The key of an instance or class."""
        return name_of(leaf if inspect.isclass(leaf) else type(leaf))

    def spec_of(self, leaf: T) -> str:
        """The shortest string that :meth:`make` turns back into ``leaf``."""
        return spec_of(leaf, self.name_of(leaf))

    def table(self) -> list[dict[str, str]]:
        """One row a leaf: name, summary, settings with defaults, reference. Feeds ``unmask list`` and the docs."""
        rows = []
        for name in self.names():
            cls = self.get(name)
            settings = (k if v is REQUIRED else f"{k}={v!r}" for k, v in self.settings(cls).items())
            summary = (inspect.getdoc(cls) or "").split("\n")[0]
            row = {"name": name, "summary": summary, "settings": ", ".join(settings), "reference": self.reference(cls)}
            rows.append(row)
        return rows


def read_literal(text: str) -> Value:
    """The Python value that a text says (``true``, ``false`` and ``none`` in any case), else the text."""
    try:
        return cast(Value, ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)
