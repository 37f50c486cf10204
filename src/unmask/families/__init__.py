"""The kinds of models, one file or folder each: how each is recognised, loaded, trained, sampled, scored, diagnosed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from unmask.core.errors import UsageError, did_you_mean
from unmask.core.family import Family, Place
from unmask.core.model import Model
from unmask.core.registry import Registry
from unmask.core.sampling_config import SamplingConfig

families: Registry[Family] = Registry("family", "unmask.families", Family)  # type: ignore[type-abstract]
#: the families that ship, in the order in which a folder is shown to them; those from elsewhere come first
_ORDER = ("puzzle", "causal", "tidal", "masked")


def load(path_or_id: str | Path, device: torch.device) -> Model:
    """The model of a folder or hub id, by the first family that recognises it.

    Raises:
        CheckpointError: the folder is unfinished, damaged, or its parts do not belong together; an unknown model.
        UsageError: there is no such folder or hub id.
    """
    place = _place(path_or_id)
    for family in _walk():
        if family.detect(place) is not None:
            return _planned(family.load(place, device), place)
    raise UsageError(f"no family of models reads {str(path_or_id)!r}: {', '.join(families)} were asked")


def _planned(model: Model, place: Place) -> Model:
    """The model with the default plan of its folder, if there is one, on top of its family's."""
    plan = SamplingConfig() if place.folder is None else SamplingConfig.load(place.folder)
    model.config = SamplingConfig.of(plan.changed(), model.config)
    return model


def adopted(found: Any, what: str) -> Model:
    """A model as it is, or a network with its tokenizer behind the contract of every model.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(found, Model):
        return found
    for family in _walk():
        model = family.adopt(found)
        if model is not None:
            return model
    raise UsageError(f"{what} takes a model from unmask.load, not a {type(found).__name__}")


def trainer_of(name: str) -> type[Family]:
    """The family that a recipe's ``family`` names.

    Raises:
        UsageError: none trains under that name.
    """
    known = {family.trains: family for family in _walk() if family.trains}
    if name not in known:
        raise UsageError(f"family={name!r} is trained by none: {did_you_mean(name, known)}")
    return known[name]


def _walk() -> list[type[Family]]:
    names = families.names()
    own = [name for name in _ORDER if name in names]
    return [families.get(name) for name in [*(n for n in names if n not in own), *own]]


def _place(path_or_id: str | Path) -> Place:
    from unmask.data.hub import local_folder
    from unmask.models.causal import SMOLLM2
    from unmask.models.hub import find, read_config

    name = str(path_or_id)
    if name == SMOLLM2:
        return Place(name, local_folder(name), {})
    folder = find(path_or_id)
    return Place(name, folder, read_config(folder) if (folder / "config.json").is_file() else {})
