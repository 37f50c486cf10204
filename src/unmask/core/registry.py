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
import weakref
from collections.abc import Iterator
from importlib import metadata
from typing import Any, ClassVar, Generic, TypeVar, cast

from unmask.core.errors import WrongUse, did_you_mean


class Leaf:
    """Base of everything a registry holds. Subclasses are frozen dataclasses; their fields are their settings."""

    #: where the method comes from: an arXiv id, a DOI, or "this project"
    reference: ClassVar[str] = ""

    @classmethod
    def examples(cls) -> list[Any]:
        """Instances that the contract tests run: the defaults, and each setting away from its default."""
        return [cls()]

    @classmethod
    def summary(cls) -> str:
        """First line of the docstring, for tables and help."""
        return (inspect.getdoc(cls) or "").split("\n")[0]


T = TypeVar("T", bound=Leaf)
_SPEC = re.compile(r"^(?P<name>[A-Za-z0-9_\-]+)(?::(?P<settings>.+))?$")


#: names of leaves that were registered by hand
_GIVEN: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()


def name_of(leaf: type[Leaf]) -> str:
    """The key of a leaf's class in its registry: the name it was registered under, else its file's."""
    return _GIVEN.get(leaf) or leaf.__module__.rsplit(".", 1)[-1]


def spec_of(leaf: Leaf) -> str:
    """The shortest string that its registry's :meth:`Registry.make` turns back into ``leaf``."""
    fields = dataclasses.fields(cast(Any, leaf))
    changed = [f"{f.name}={getattr(leaf, f.name)}" for f in fields if getattr(leaf, f.name) != f.default]
    return name_of(type(leaf)) + (":" + ",".join(changed) if changed else "")


class Registry(Generic[T]):
    """The leaves of one kind, discovered by file name and loaded when asked for.

    Args:
        kind: singular noun for messages ("order").
        package: dotted name of the folder that holds one leaf a file.
        base: the class each leaf derives from.
    """

    def __init__(self, kind: str, package: str, base: type[T]) -> None:
        self.kind, self.package, self.base = kind, package, base
        self._extra: dict[str, type[T]] = {}

    def names(self) -> list[str]:
        """Every key, sorted. Nothing but the folder listing is read."""
        folder = importlib.import_module(self.package).__path__
        own = [m.name for m in pkgutil.iter_modules(folder) if not m.name.startswith("_")]
        points = [p.name for p in metadata.entry_points(group=f"unmask.{self.kind}")]
        return sorted({*own, *points, *self._extra})

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def get(self, name: str) -> type[T]:
        """The leaf class called ``name``.

        Raises:
            WrongUse: no such leaf; the message names the nearest one.
        """
        key = name.replace("-", "_")
        if key in self._extra:
            return self._extra[key]
        if key not in self.names():
            raise WrongUse(f"no {self.kind} is called {name!r}: {did_you_mean(key, self.names())}")
        for point in metadata.entry_points(group=f"unmask.{self.kind}"):
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
            WrongUse: ``leaf`` does not derive from the registry's base, or the name is taken by another leaf.
        """
        if not (inspect.isclass(leaf) and issubclass(leaf, self.base)):
            raise WrongUse(f"{leaf!r} is not a {self.base.__name__}, so it cannot be registered as a {self.kind}")
        if not dataclasses.is_dataclass(leaf):
            raise WrongUse(f"{leaf.__name__} must be a frozen dataclass: its fields are its settings")
        if self._extra.get(name, leaf) is not leaf:
            raise WrongUse(f"a {self.kind} called {name!r} exists already; choose another name")
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
            WrongUse: unknown name, unknown setting, or a value of the wrong type.
        """
        if isinstance(spec, self.base):
            return dataclasses.replace(cast(Any, spec), **settings) if settings else spec
        match = _SPEC.match(spec.strip()) if isinstance(spec, str) else None
        if match is None:
            raise WrongUse(f"{spec!r} does not name a {self.kind}: write name or name:setting=value,setting=value")
        cls = self.get(match["name"])
        values = {**self._parse(match["settings"], match["name"]), **settings}
        fields = {f.name: f for f in dataclasses.fields(cast(Any, cls))}
        for key, value in values.items():
            if key not in fields:
                raise WrongUse(f"{self.kind} {match['name']!r} has no setting {key!r}: {did_you_mean(key, fields)}")
            values[key] = _coerce(value, fields[key], f"{self.kind} {match['name']}:{key}")
        return cls(**values)

    def name_of(self, leaf: T | type[T]) -> str:
        """The key of an instance or class."""
        return name_of(leaf if inspect.isclass(leaf) else type(leaf))

    def spec_of(self, leaf: T) -> str:
        """The shortest string that :meth:`make` turns back into ``leaf``."""
        return spec_of(leaf)

    def table(self) -> list[dict[str, str]]:
        """One row a leaf: name, summary, settings with defaults, reference. Feeds ``unmask list`` and the docs."""
        rows = []
        for name in self.names():
            cls = self.get(name)
            settings = ", ".join(f"{f.name}={f.default!r}" for f in dataclasses.fields(cast(Any, cls)))
            rows.append(
                {"name": name, "summary": cls.summary(), "settings": settings, "reference": cls.reference or "-"}
            )
        return rows

    def _parse(self, text: str | None, name: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for part in (text or "").split(","):
            if not part:
                continue
            key, equals, value = part.partition("=")
            if not equals:
                raise WrongUse(f"setting {part!r} of {self.kind} {name!r} has no value: write {part}=value")
            values[key.strip()] = value.strip()
        return values


def _coerce(value: Any, field: dataclasses.Field[Any], where: str) -> Any:
    """Text from the command line to the type of the field's default; other values pass through."""
    if not isinstance(value, str) or isinstance(field.default, str):
        return value
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        literal = {"true": True, "false": False, "none": None}.get(value.lower(), value)
    wanted = type(field.default)
    if isinstance(field.default, bool) and not isinstance(literal, bool):
        raise WrongUse(f"{where}={value} is not a truth value: write true or false")
    if isinstance(field.default, (int, float)) and (isinstance(literal, str) or literal is None):
        raise WrongUse(f"{where}={value} is not a number: its default is {field.default}")
    if isinstance(field.default, float) and isinstance(literal, int):
        return float(literal)
    if wanted is int and isinstance(literal, float):
        raise WrongUse(f"{where}={value} must be a whole number: its default is {field.default}")
    return literal
