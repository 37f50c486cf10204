"""The kinds of models, one file or folder each: how each is recognised, loaded, trained, sampled, scored, diagnosed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from unmask.core.errors import UsageError
from unmask.core.family import Place, families
from unmask.core.model import Model
from unmask.core.sampling_config import SamplingConfig

if TYPE_CHECKING:
    import torch

families.package, families.order = __name__, ("puzzle", "causal", "tidal", "masked")


def load(path_or_id: str | Path, device: torch.device) -> Model:
    """The model of a folder or hub id, by the first family that recognises it.

    Raises:
        CheckpointError: the folder is unfinished, damaged, or its parts do not belong together; an unknown model.
        UsageError: there is no such folder or hub id.
    """
    place = _place(path_or_id)
    for family in families.walk():
        if family.detect(place) is not None:
            return _planned(family.load(place, device), place)
    raise UsageError(f"no family of models reads {str(path_or_id)!r}: {', '.join(families)} were asked")


def _planned(model: Model, place: Place) -> Model:
    """The model with the default plan of its folder, if there is one, on top of its family's."""
    plan = SamplingConfig() if place.folder is None else SamplingConfig.load(place.folder)
    model.config = SamplingConfig.of(plan.changed(), model.config)
    return model


def adopted(found: object, what: str) -> Model:
    """A model as it is, or a network with its tokenizer behind the contract of every model.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(found, Model):
        return found
    for family in families.walk():
        model = family.adopt(found)
        if model is not None:
            return model
    raise UsageError(f"{what} takes a model from unmask.load, not a {type(found).__name__}")


def _place(path_or_id: str | Path) -> Place:
    from unmask.data.hub import local_folder
    from unmask.models.causal import SMOLLM2
    from unmask.models.hub import find, read_config

    name = str(path_or_id)
    if name == SMOLLM2:
        return Place(name, local_folder(name), {})
    folder = find(path_or_id)
    return Place(name, folder, read_config(folder) if (folder / "config.json").is_file() else {})
