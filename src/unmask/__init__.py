"""Train any-order language models, and unmask what their scores hide.

``unmask.load``, ``unmask.sample``, ``unmask.invert``, ``unmask.train``, ``unmask.evaluate``, ``unmask.diagnose``,
``unmask.audit``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from unmask import families as families  # which says where the families are; light, as no model is read yet
from unmask import reporting as reporting  # which enters what draws results; light, as nothing is drawn yet
from unmask.core.door import DOORS

__version__ = "0.1.0"
__all__ = ["__version__", "audit", "diagnose", "evaluate", "invert", "load", "record", "sample", "train"]

DOORS["load"] = "unmask.api:load"

if TYPE_CHECKING:
    from unmask.api import audit, diagnose, evaluate, invert, load, record, sample, train


def __getattr__(name: str) -> Any:
    # late, so that `unmask --help` does not wait for torch
    if name in __all__:
        return getattr(importlib.import_module("unmask.api"), name)
    raise AttributeError(f"module 'unmask' has no attribute {name!r}")
