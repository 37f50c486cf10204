"""Every press by its name: kvpress' own, discovered, and the controls of :mod:`unmask.kvcache.presses`.

A press is written as on the command line: ``knorm``, ``snapkv:window_size=32``, ``adakv:press=snapkv``,
``skip_layers:press=knorm,layers=0+1``. A file in ``presses/`` is found by its name; of kvpress' modules the file name
without ``_press`` is the name, or the class' name where a file holds several. Case, ``-`` and ``_`` do not matter, and
kvpress' class names work too.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import pkgutil
import re
from functools import cached_property
from typing import Any

from unmask.core.errors import MissingExtra, UnmaskError, UsageError
from unmask.core.registry import REQUIRED, Registry, Value, read_literal

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
        settings: its settings, as text.
    """

    name: str
    settings: tuple[tuple[str, str], ...] = ()

    def build(self) -> Any:
        """A new instance of the press, its ratio still to be set."""
        return presses.make(str(self))

    def __str__(self) -> str:
        return self.name + (":" + ",".join(f"{k}={v}" for k, v in self.settings) if self.settings else "")


class Presses(Registry[Any]):
    """The registry of presses: ours, a file each, and kvpress' own; none where kvpress is not installed."""

    shown = {"press": "knorm", "presses": "knorm+snapkv"}

    @property
    def base(self) -> type[Any]:
        require_kvpress()
        from kvpress import BasePress

        return BasePress

    def names(self) -> list[str]:
        return sorted({*super().names(), *self._theirs}) if importlib.util.find_spec("kvpress") else []

    def key(self, name: str) -> str:
        return next((known for known in self.names() if _plain(known) == _plain(name)), name)

    def get(self, name: str) -> type[Any]:
        """The class of a press.

        Raises:
            MissingExtra: kvpress is not installed.
            UsageError: no such press, with the nearest name; or one that acts only while decoding.
        """
        require_kvpress()
        if _plain(name) in map(_plain, _DECODING):
            raise UsageError(f"{name!r} acts only while decoding: name its base press and choose --rolling")
        return self._theirs.get(self.key(name)) or super().get(name)

    def parse(self, text: str) -> list[PressSpec]:
        """The presses of a comma-separated list; settings follow a colon and may hold commas too.

        Raises:
            UsageError: an unknown press or setting.
        """
        pieces: list[str] = []
        for piece in filter(None, map(str.strip, text.split(","))):
            if pieces and "=" in piece.partition(":")[0]:
                pieces[-1] += f",{piece}"
            else:
                pieces.append(piece)
        if not pieces:
            raise UsageError(f"{text!r} names no press: try knorm,snapkv,streaming_llm")
        # one way to write each press, so that rows of a table can be told apart; a wrong setting shows before any work
        read = [self.read(piece) for piece in pieces]
        specs = [PressSpec(self.name_of(self.get(name)), tuple(settings.items())) for name, settings in read]
        for spec in specs:
            spec.build()
        return specs

    def make(self, spec: Any, **settings: Any) -> Any:
        try:
            return super().make(spec, **settings)
        except (AssertionError, TypeError, ValueError, OSError) as error:
            if isinstance(error, UnmaskError):
                raise
            raise UsageError(f"press {spec}: {str(error).splitlines()[0] if str(error) else error!r}") from error

    def read(self, spec: Any) -> tuple[str, dict[str, Any]]:
        name, values = super().read(spec)
        for key in {"compression_ratio", "keep"} & set(values):
            raise UsageError(f"{name}:{key}={values[key]}: the budget is given once for all presses, with keep")
        return name, values

    def settings(self, leaf: type[Any]) -> dict[str, Any]:
        """As of any leaf, but for the budget, which is no setting; a press around another needs that one."""
        found = {key: default for key, default in super().settings(leaf).items() if key != "compression_ratio"}
        return found | ({"press": REQUIRED} if found.get("press", self) is None else {})

    def coerce(self, value: Any, key: str, default: Any, where: str) -> Value:
        if not isinstance(value, str):
            return value
        if key in ("press", "base_press"):
            return self.make(value)
        if key == "presses":
            return [self.make(part) for part in value.split("+")]
        if isinstance(default, tuple) or "+" in value:
            return tuple(map(read_literal, value.split("+")))
        return super().coerce(value, key, default, where)

    def name_of(self, leaf: Any) -> str:
        cls = leaf if inspect.isclass(leaf) else type(leaf)
        return next((name for name, known in self._theirs.items() if known is cls), super().name_of(cls))

    def reference(self, leaf: type[Any]) -> str:
        found = _ARXIV.search(inspect.getdoc(leaf) or "")
        return getattr(leaf, "reference", None) or (found[1] if found else "kvpress")

    @cached_property
    def _theirs(self) -> dict[str, type[Any]]:
        """Name -> class of kvpress' own; one that is called like one of ours is ``kvpress_name``."""
        import kvpress.presses

        found: dict[str, type[Any]] = {}
        ours = super().names()
        for module_info in pkgutil.iter_modules(kvpress.presses.__path__):
            module = importlib.import_module(f"kvpress.presses.{module_info.name}")
            classes = [
                c
                for c in vars(module).values()
                if inspect.isclass(c)
                and issubclass(c, self.base)
                and c.__module__ == module.__name__
                and c.__name__ not in _ABSTRACT
                and not any(base.__name__ in _DECODING for base in c.__mro__)
            ]
            for cls in classes:
                stem = module_info.name.removesuffix("_press")
                name = (stem if len(classes) == 1 else cls.__name__.removesuffix("Press")).lower()
                found[f"kvpress_{name}" if name in ours else name] = cls
        return found


presses = Presses("press", "unmask.kvcache.presses", object)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("press")
