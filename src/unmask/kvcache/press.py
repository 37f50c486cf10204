"""Every press by its name: kvpress' own, discovered, and the controls of :mod:`unmask.kvcache.presses`.

A press is written as on the command line: ``knorm``, ``snapkv:window_size=32``, ``adakv:press=snapkv``,
``skip_layers:press=knorm,layers=0+1``. A file in ``presses/`` is found by its name; of kvpress' modules the file name
without ``_press`` is the name, or the class' name where a file holds several. Case, ``-`` and ``_`` do not matter, and
kvpress' class names work too.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from unmask.core.errors import MissingExtra, WrongUse, did_you_mean

_SPEC = re.compile(r"^(?P<name>[A-Za-z0-9_\-.]+)(?::(?P<settings>.+))?$")
_ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})")
#: classes that are no press of their own, and presses that only act while decoding: `--rolling` does that here
_ABSTRACT = ("BasePress", "ScorerPress")
_DECODING = ("DecodingPress", "PrefillDecodingPress")


def require_kvpress() -> None:
    """Raise :class:`MissingExtra` where kvpress is not installed."""
    if importlib.util.find_spec("kvpress") is None:
        raise MissingExtra('KV-cache presses come from kvpress, which is not installed: pip install "unmask[kv]"')


@dataclasses.dataclass(frozen=True)
class PressSpec:
    """A press with its settings; :meth:`build` gives a fresh instance, since presses keep state.

    Attributes:
        name: the press' name.
        settings: its settings as text or values.
    """

    name: str
    settings: tuple[tuple[str, Any], ...] = ()

    def build(self) -> Any:
        """A new instance of the press, its ratio still to be set."""
        return presses.build(self)

    def __str__(self) -> str:
        return self.name + (":" + ",".join(f"{k}={v}" for k, v in self.settings) if self.settings else "")


class Presses:
    """The presses by name. The same questions as :class:`unmask.core.registry.Registry` answers for other leaves."""

    kind = "press"

    def names(self) -> list[str]:
        """Every name, sorted; none where kvpress is not installed."""
        return sorted(_catalogue()) if importlib.util.find_spec("kvpress") else []

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def get(self, name: str) -> type[Any]:
        """The class of a press.

        Raises:
            MissingExtra: kvpress is not installed.
            WrongUse: no such press, with the nearest name; or one that acts only while decoding.
        """
        require_kvpress()
        catalogue = _catalogue()
        keys = {_plain(known): known for known in catalogue}
        if _plain(name) in {_plain(n) for n in _DECODING}:
            raise WrongUse(f"{name!r} acts only while decoding: name its base press and choose --rolling")
        if _plain(name) not in keys:
            raise WrongUse(f"no press is called {name!r}: {did_you_mean(name, catalogue)}")
        return catalogue[keys[_plain(name)]]

    def parse(self, text: str) -> list[PressSpec]:
        """The presses of a comma-separated list; settings follow a colon and may hold commas too.

        Raises:
            WrongUse: an unknown press or setting.
        """
        specs: list[PressSpec] = []
        for piece in (p.strip() for p in text.split(",")):
            if not piece:
                continue
            if "=" in piece and ":" not in piece and specs:
                key, _, value = piece.partition("=")
                specs[-1] = dataclasses.replace(specs[-1], settings=(*specs[-1].settings, (key.strip(), value.strip())))
                continue
            match = _SPEC.match(piece)
            if match is None:
                raise WrongUse(f"{piece!r} does not name a press: write name or name:setting=value")
            settings = tuple(tuple(s.split("=", 1)) for s in [match["settings"]] if s)
            if any(len(s) != 2 for s in settings):
                raise WrongUse(f"{piece!r} has a setting without a value: write {match['name']}:setting=value")
            specs.append(PressSpec(match["name"], settings))  # type: ignore[arg-type]
        if not specs:
            raise WrongUse(f"{text!r} names no press: try knorm,snapkv,streaming_llm")
        # one way to write each press, so that rows of a table can be told apart; a wrong setting shows before any work
        specs = [dataclasses.replace(s, name=self.name_of(self.get(s.name))) for s in specs]
        for spec in specs:
            self.build(spec)
        return specs

    def make(self, spec: str | PressSpec) -> Any:
        """A fresh press from text."""
        return self.build(self.parse(spec)[0] if isinstance(spec, str) else spec)

    def build(self, spec: PressSpec) -> Any:
        cls = self.get(spec.name)
        fields = _settings(cls)
        values: dict[str, Any] = {}
        for key, value in spec.settings:
            if key in ("compression_ratio", "keep"):
                raise WrongUse(f"{spec.name}:{key}={value}: the budget is given once for all presses, with keep")
            if key not in fields:
                raise WrongUse(f"press {spec.name!r} has no setting {key!r}: {did_you_mean(key, fields)}")
            values[key] = self._value(value, key, fields[key], f"{spec.name}:{key}")
        missing = [f for f, default in fields.items() if _required(f, default) and f not in values]
        if missing:
            example = {"presses": "knorm+snapkv", "press": "knorm"}.get(missing[0], "...")
            raise WrongUse(f"press {spec.name!r} needs {missing[0]}: write {spec.name}:{missing[0]}={example}")
        try:
            return cls(**values)
        except (AssertionError, TypeError, ValueError, OSError) as error:
            if isinstance(error, WrongUse):
                raise
            raise WrongUse(f"press {spec}: {str(error).splitlines()[0] if str(error) else error!r}") from error

    def name_of(self, press: Any) -> str:
        """The name of a press or its class."""
        cls = press if inspect.isclass(press) else type(press)
        return next((name for name, known in _catalogue().items() if known is cls), cls.__name__)

    def table(self) -> list[dict[str, str]]:
        """One row a press: name, summary, settings with defaults, reference."""
        rows = []
        for name in self.names():
            cls = self.get(name)
            doc = inspect.getdoc(cls) or ""
            found = _ARXIV.search(doc)
            settings = [
                key if _required(key, default) else f"{key}={default!r}" for key, default in _settings(cls).items()
            ]
            rows.append(
                {
                    "name": name,
                    "summary": doc.split("\n")[0],
                    "settings": ", ".join(settings),
                    "reference": getattr(cls, "reference", None) or (found[1] if found else "kvpress"),
                }
            )
        return rows

    def _value(self, value: Any, key: str, default: Any, where: str) -> Any:
        if not isinstance(value, str):
            return value
        if key in ("press", "base_press"):
            return self.make(value)
        if key == "presses":
            return [self.make(part) for part in value.split("+")]
        if isinstance(default, tuple) or "+" in value:
            return tuple(_literal(part) for part in value.split("+"))
        literal = _literal(value)
        if isinstance(default, (int, float)) and not isinstance(literal, (int, float)):
            raise WrongUse(f"{where}={value} is not a number: its default is {default}")
        return literal


presses = Presses()


@lru_cache(maxsize=1)
def _catalogue() -> dict[str, type[Any]]:
    """Name -> class. Ours win a name; kvpress' press of the same name is called ``kvpress_name``."""
    import kvpress.presses
    from kvpress import BasePress

    found: dict[str, type[Any]] = {}
    for module_info in pkgutil.iter_modules(kvpress.presses.__path__):
        module = importlib.import_module(f"kvpress.presses.{module_info.name}")
        classes = [
            c
            for c in vars(module).values()
            if inspect.isclass(c)
            and issubclass(c, BasePress)
            and c.__module__ == module.__name__
            and c.__name__ not in _ABSTRACT
            and not any(base.__name__ in _DECODING for base in c.__mro__)
        ]
        for cls in classes:
            name = module_info.name.removesuffix("_press") if len(classes) == 1 else cls.__name__.removesuffix("Press")
            found[name.lower()] = cls
    folder = importlib.import_module("unmask.kvcache.presses")
    for module_info in pkgutil.iter_modules(folder.__path__):
        if module_info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{folder.__name__}.{module_info.name}")
        own = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
        if len(own) != 1:
            raise TypeError(f"{module.__name__} must define exactly one press, found {len(own)}")
        if module_info.name in found:
            found[f"kvpress_{module_info.name}"] = found[module_info.name]
        found[module_info.name] = own[0]
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("press")


def _settings(cls: type[Any]) -> dict[str, Any]:
    """Setting -> default (``inspect.Parameter.empty`` where there is none); the budget is not a setting."""
    found = {}
    made = {f.name: f.default_factory for f in dataclasses.fields(cls) if f.default_factory is not dataclasses.MISSING}
    for name, parameter in inspect.signature(cls).parameters.items():
        if name != "compression_ratio" and parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            found[name] = made[name]() if name in made else parameter.default
    return found


def _required(name: str, default: Any) -> bool:
    return default is inspect.Parameter.empty or (name == "press" and default is None)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)
