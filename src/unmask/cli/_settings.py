"""Flags made from the fields of :class:`SamplingConfig`: what is set there is a flag of every command that writes."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import typer

from unmask.core.sampling_config import SamplingConfig

#: settings whose values are names with settings of their own, or a number or a word
_KINDS = {"guidance": float}


def sampling_flags(command: Callable[..., Any], only: Iterable[str] | None = None) -> Callable[..., Any]:
    """The command with a flag for each setting; those that were given reach it as ``settings``, a dictionary.

    Args:
        command: takes ``settings`` and its own options. Options of its own that are called as a setting keep their
            place, and are not among ``settings``.
        only: names of the settings to offer; all when None.
    """
    own = inspect.signature(command, eval_str=True)
    known = [f for f in dataclasses.fields(SamplingConfig) if (only is None or f.name in only)]
    offered = [f for f in known if f.name not in own.parameters]

    @functools.wraps(command)
    def run(context: typer.Context, **values: Any) -> Any:
        given = {
            f.name: values[f.name]
            for f in offered
            if str(getattr(context.get_parameter_source(f.name), "name", "")) == "COMMANDLINE"
        }
        rest = {name: value for name, value in values.items() if name in own.parameters}
        return command(**rest, settings=given)

    before = [p for p in own.parameters.values() if p.name != "settings"]
    flags = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=_option(f), annotation=_kind(f))
        for f in offered
    ]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in before), *flags]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    del run.__wrapped__  # type: ignore[attr-defined]  # typer would look through it
    return run


def require_settings(settings: dict[str, Any]) -> None:
    """Refuse settings that no model could be run with, before one is loaded.

    Raises:
        UsageError: an unknown name, a value out of range, or two that do not go together.
    """
    from unmask.decoding.plan import DecodingPlan

    SamplingConfig.of(settings)
    plan = {f.name for f in dataclasses.fields(DecodingPlan)}
    said = {n: v for n, v in settings.items() if n in plan and v is not None and (n, v) != ("steps", "auto")}
    if isinstance(said.get("steps"), str):
        said["steps"] = SamplingConfig.of(said).steps
    if said.get("order") != "vanilla":  # a word of puzzle models alone
        DecodingPlan(**said)


def require_data(data: str | None, column: str | None) -> None:
    """Refuse a file, folder or pattern without texts, before a model is loaded.

    Raises:
        UsageError: see :func:`unmask.data.text.require_texts`.
    """
    from unmask.data.text import require_texts

    if data is not None:
        require_texts(data, [c.strip() for c in column.split(",")] if column and "," in column else column)


def _option(field: dataclasses.Field[Any]) -> Any:
    flag = "--" + field.name.replace("_", "-")
    default = field.default if field.default is not None else None
    # a switch that is off has one name, so that nobody reads of --no-stop-at-eos
    return typer.Option(default, flag, help=field.metadata["help"])


def _kind(field: dataclasses.Field[Any]) -> Any:
    if field.name in _KINDS:
        return _KINDS[field.name]
    name = str(field.type)
    found: Any = next((k for word, k in (("bool", bool), ("int", int), ("float", float)) if name.startswith(word)), str)
    return found if field.default is not None else found | None
