"""Settings that have another name today: files that hold the old one are read as before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from unmask.core.errors import UsageError

#: old name of a recipe's setting -> the one of today
RENAMED = {"tilt": "time_power", "unconditional": "condition_dropout"}

V = TypeVar("V", bound=Any)


def current(settings: Mapping[str, V]) -> dict[str, V]:
    """Settings under the names of today, in their order.

    Raises:
        UsageError: one stands there under both names.
    """
    for old, new in RENAMED.items():
        if old in settings and new in settings:
            raise UsageError(f"{old}={settings[old]} and {new}={settings[new]} are one setting: leave {old} out")
    return {RENAMED.get(name, name): value for name, value in settings.items()}
