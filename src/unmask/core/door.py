"""What a lower room asks of the package's door by name: entered by the door, so that no import points up."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unmask.core.model import Model

#: what is asked for -> ``module:function``
DOORS: dict[str, str] = {}


def load(path_or_id: str | Path, device: Any = None) -> Model:
    """The model of a folder or hub id, whatever its family; what ``unmask.load`` gives."""
    return resolve_name(DOORS["load"])(path_or_id, device)  # type: ignore[no-any-return]
