"""The weights in a folder: read, held against the network they are for, and loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar, cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from unmask.core.errors import CheckpointError, first_line

#: the averaged weights in a checkpoint of a run
AVERAGE = "ema.safetensors"

M = TypeVar("M", bound=nn.Module)


def load_weights(folder: str | Path, kind: type[M]) -> M:
    """The network of a folder, in evaluation mode; every weight must be there and none left over.

    Raises:
        CheckpointError: saying which weights are missing, unexpected or of another shape.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{str(folder)!r} holds no config.json, which says how its network is built")
    try:
        model: Any = kind(kind.config_class.from_pretrained(folder, local_files_only=True))  # type: ignore[attr-defined]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"the configuration in {str(folder)!r} cannot be used: {first_line(error)}") from error
    found = read_weights(folder)
    check_fit(model, found, folder)
    model.load_state_dict(found)
    if (folder / AVERAGE).is_file():
        # a checkpoint of a run: what was evaluated, and would be saved at its end, is the average
        model.load_state_dict(load_file(str(folder / AVERAGE)), strict=False)
    return cast(M, model.eval())


def check_fit(model: Any, found: dict[str, Tensor], folder: Path) -> None:
    """Refuse weights that a model lacks, that it has no place for, or of another shape.

    Raises:
        CheckpointError: naming them.
    """
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    faults = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unexpected": sorted(found.keys() - wanted.keys()),
        "of another shape": sorted(n for n in wanted.keys() & found.keys() if wanted[n] != tuple(found[n].shape)),
    }
    said = [f"{what}: {', '.join(v[:4])}{' ...' if len(v) > 4 else ''}" for what, v in faults.items() if v]
    if said:
        raise CheckpointError(f"the weights in {str(folder)!r} do not fit their configuration ({'; '.join(said)})")


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's safetensors, sharded or not.

    Raises:
        CheckpointError: there are none, a shard is missing, or a file is damaged.
    """
    require_safetensors(folder)
    files = sorted(folder.glob("model*.safetensors"))
    index = folder / "model.safetensors.index.json"
    try:
        if index.is_file():
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            files = [folder / Path(str(name)).name for name in sorted(names)]
        tensors: dict[str, Tensor] = {}
        for file in files:
            tensors |= load_file(str(file))
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"the weights in {str(folder)!r} cannot be read: {first_line(error)}") from error
    return tensors


def require_safetensors(folder: Path) -> None:
    """Refuse a folder without weights in a format that holds nothing but numbers.

    Raises:
        CheckpointError: there are none; it names the pickle that lies there instead.
    """
    if any(folder.glob("model*.safetensors")):
        return
    other = sorted(p.name for ending in ("pytorch_model*.bin", "*.pth") for p in folder.glob(ending))
    other += sorted(p.name for ending in ("*.bin", "*.pt") for p in folder.glob(ending))
    hint = f"; {other[0]} is a pickle, which is not read: convert it to safetensors" if other else ""
    raise CheckpointError(f"{str(folder)!r} holds no model.safetensors{hint}")
