"""Every registry of leaves by its plural name: what `unmask list`, the docs and the contract tests walk over."""

from __future__ import annotations

import importlib
import re
from typing import Any

from unmask.core.errors import UsageError, did_you_mean
from unmask.core.registry import Registry

_PLACES = {
    "schedules": "unmask.diffusion.schedule:schedules",
    "orders": "unmask.decoding.order:orders",
    "quotas": "unmask.decoding.quota:quotas",
    "samplers": "unmask.decoding.rule:samplers",
    "remaskers": "unmask.decoding.remask:remaskers",
    "caches": "unmask.decoding.cache:caches",
    "verifiers": "unmask.search.verifier:verifiers",
    "proposals": "unmask.search.proposal:proposals",
    "puzzles": "unmask.data.puzzles.puzzle:PUZZLES",
    "checks": "unmask.diagnosis.check:checks",
    "tasks": "unmask.evaluation.tasks.problem:tasks",
    "faults": "unmask.diagnosis.fault:faults",
    "laws": "unmask.diagnosis.law:laws",
    "audits": "unmask.auditing.check:audit_checks",
    "signatures": "unmask.auditing.foreign:signatures",
    # those of the extra kv: none where kvpress is not installed
    "presses": "unmask.kvcache.press:presses",
}


def registries() -> dict[str, Registry[Any]]:
    """Plural name to registry."""
    found: dict[str, Registry[Any]] = {}
    for name, place in _PLACES.items():
        module, attribute = place.split(":")
        found[name] = getattr(importlib.import_module(module), attribute)
    return found


_TABLE = re.compile(r"<!-- unmask list (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def markdown(name: str) -> str:
    """A registry as a Markdown table.

    Raises:
        UsageError: no registry of that name.
    """
    kinds = registries()
    if name not in kinds:
        raise UsageError(f"nothing to list is called {name!r}: {did_you_mean(name, kinds)}")
    lines = ["| name | what it does | settings | source |", "|---|---|---|---|"]
    for row in kinds[name].table():
        settings = f"`{row['settings']}`" if row["settings"] else ""
        cells = (f"`{row['name']}`", row["summary"].replace("|", "\\|"), settings, row["reference"])
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def refilled(text: str) -> str:
    """A Markdown page with each table between ``<!-- unmask list NAME -->`` and ``<!-- end -->`` made anew."""
    return _TABLE.sub(lambda m: f"<!-- unmask list {m[1]} -->\n{markdown(m[1])}\n<!-- end -->", text)
