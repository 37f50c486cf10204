"""A kind of model, in one folder under ``families/``: how it is recognised, loaded, and prepared for training."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from unmask.core.model import Model
from unmask.core.registry import Leaf


@dataclass(frozen=True)
class Place:
    """Where a model was asked for.

    Attributes:
        name: what the user said: a folder, a hub id, or an alias.
        folder: the files, where there are any; of a hub id those in the local cache.
        config: the tree of its config.json, {} where there is none.
    """

    name: str
    folder: Path | None
    config: dict[str, Any]

    @cached_property
    def files(self) -> frozenset[str]:
        """Names of the files in the folder."""
        return frozenset() if self.folder is None else frozenset(p.name for p in self.folder.iterdir())


class Family(Leaf):
    """Base of the families: one class in ``families/NAME.py`` or ``families/NAME/__init__.py``."""

    #: the recipe key ``family`` that trains it; empty where nothing does
    trains: ClassVar[str] = ""

    @classmethod
    @abstractmethod
    def detect(cls, place: Place) -> str | None:
        """Why this family reads what lies there (``it holds puzzle.json``), or None if it does not."""

    @classmethod
    @abstractmethod
    def load(cls, place: Place, device: torch.device) -> Model:
        """The model there.

        Raises:
            CheckpointError: unfinished, damaged, or parts that do not belong together.
        """

    @classmethod
    def adopt(cls, found: Any) -> Model | None:
        """A network with its tokenizer, made in Python, behind the contract; None where it is another family's."""
        return None

    @classmethod
    def check(cls, recipe: Any) -> None:
        """Refuse of a recipe what would only be found out at the first evaluation."""

    @classmethod
    def probes(cls, prepared: Any, recipe: Any) -> list[Any]:
        """What training looks at besides losses, at each evaluation."""
        return []
