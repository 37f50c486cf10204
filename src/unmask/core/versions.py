"""Versions of what a result was computed with."""

from __future__ import annotations

import contextlib
import platform
from importlib import metadata


def versions() -> dict[str, str]:
    """Names and versions of unmask (where it is installed), torch, transformers and Python."""
    import torch
    import transformers

    found = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    with contextlib.suppress(metadata.PackageNotFoundError):  # put on the path, not installed
        found = {"unmask": metadata.version("unmask"), **found}
    return found
