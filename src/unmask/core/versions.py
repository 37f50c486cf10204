"""Versions of what a result was computed with."""

from __future__ import annotations

import contextlib
import platform
from importlib import metadata


def versions() -> dict[str, str]:
    """Names and versions of unmask, torch and transformers (as installed), and of Python."""
    found = {}
    for name in ("unmask", "torch", "transformers"):
        with contextlib.suppress(metadata.PackageNotFoundError):  # put on the path, not installed
            found[name] = metadata.version(name)
    return {**found, "python": platform.python_version()}
