"""A kind of model, in one folder under ``families/``: how it is recognised, loaded, and trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from unmask.core.errors import UsageError, did_you_mean
from unmask.core.model import Model
from unmask.core.registry import Leaf, Registry

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Place:
    """The place a model is loaded from: a name, its folder, its config.

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
        """The names of the files in the folder."""
        return frozenset() if self.folder is None else frozenset(p.name for p in self.folder.iterdir())


@dataclass(kw_only=True)
class Prepared:
    """Data, network, tokenizer and trainer of a training run, ready for its first step.

    Attributes:
        recipe: what it was made for.
        model: the network (``denoiser``) with tokenizer and ``card``; ``save`` writes its folder.
        train, validation: datasets of rows.
        collate: rows to a batch.
        trainer: makes the trainer, a :class:`unmask.training.base_trainer.BaseTrainer` that takes ``law`` as well.
        head: (inputs, outputs) of an output head that multiplies with a table of embeddings, or None.
        positions: of a row, mean, where they are fewer than the recipe's ``length``.
    """

    recipe: Any
    model: Any
    train: Any
    validation: Any
    collate: Callable[..., dict[str, Any]]
    trainer: Callable[..., Any]
    head: tuple[int, int] | None = None
    positions: float | None = None


class Family(Leaf):
    """Base of the families: one class in ``families/NAME.py`` or ``families/NAME/__init__.py``.

    One that can be trained sets ``trains``, and defines :meth:`prepare`, :meth:`figures` and what else it needs.
    """

    #: what a recipe's ``family`` calls it; empty where nothing trains it
    trains: ClassVar[str] = ""
    #: settings of a recipe that do nothing where a family is trained that does not name them as well
    reads: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @abstractmethod
    def detect(cls, place: Place) -> str | None:
        """Why this family reads what lies there (``it holds puzzle.json``), or None if it does not."""

    @classmethod
    @abstractmethod
    def load(cls, place: Place, device: torch.device) -> Model:
        """The model stored at the place.

        Raises:
            CheckpointError: unfinished, damaged, or parts that do not belong together.
        """

    @classmethod
    def adopt(cls, found: object) -> Model | None:
        """A network with its tokenizer, made in Python, behind the contract; None where it is another family's."""
        return None

    # -- training -----------------------------------------------------------------------------------------------------
    @classmethod
    def check(cls, recipe: Any) -> None:
        """Refuse what does not fit of a recipe, before anything is read.

        Raises:
            UsageError: naming the setting.
        """

    @classmethod
    def needs(cls) -> tuple[Any, ...]:
        """Settings that do something only while others have some values (:class:`unmask.training.effect.Need`)."""
        return ()

    @classmethod
    def figures(cls, model: Any, task: str) -> list[str]:
        """The figures that every evaluation of a run reports, without ``eval_``.

        Args:
            model: the recipe's :class:`unmask.training.arguments.ModelArguments`.
            task: the recipe's.
        """
        return ["generation", "loss"]

    @classmethod
    def prepare(cls, recipe: Any, say: Callable[[str], None] = print) -> Prepared:
        """Read the data, train or load the tokenizer, build the network.

        Args:
            recipe: from :func:`unmask.training.recipe.parse`.
            say: where one-line reports go.

        Raises:
            UsageError: data or settings that do not fit.
        """
        raise UsageError(f"family={cls.trains!r} has no training of its own")

    @classmethod
    def probes(cls, prepared: Any) -> list[Callable[..., tuple[dict[str, float], list[str]]]]:
        """What training looks at besides losses, at each evaluation."""
        return []


class Families(Registry[Family]):
    """Every family. :mod:`unmask.families`, which is imported with the package, says in which folder ours are."""

    #: ours in the order in which a folder is shown to them; those from elsewhere come first
    order: tuple[str, ...] = ()

    def walk(self) -> list[type[Family]]:
        """Every family, in the order in which a folder is shown to them."""
        names = self.names()
        own = [name for name in self.order if name in names]
        return [self.get(name) for name in [*(n for n in names if n not in own), *own]]

    def training(self, name: str) -> type[Family]:
        """The family that a recipe's ``family`` names.

        Raises:
            UsageError: none trains under that name.
        """
        known = {family.trains: family for family in self.walk() if family.trains}
        if name not in known:
            raise UsageError(f"family={name!r} is trained by none: {did_you_mean(name, known)}")
        return known[name]


families = Families("family", "", Family)  # type: ignore[type-abstract]
