"""From a name to the folder with a model's files: one on this machine, or the hub's snapshot in the local cache."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unmask.core.errors import CheckpointError, UsageError, first_line
from unmask.data.hub import local_folder, snapshot
from unmask.data.tokenizer_files import VOCABULARIES

_POINTER = b"version https://git-lfs"
#: what is fetched of a hub's repository: never pickles, never code
WANTED = ("*.json", "*.jinja", "*.safetensors", "*.txt", *VOCABULARIES)


def find(path_or_id: str | Path) -> Path:
    """The folder itself, or the hub's files in the local cache.

    A local folder without a model (no config.json, no unmask.json) does not hide a hub id; where both a folder with a
    model and a hub id of that name are at hand, the folder is taken, and a warning says so.

    Raises:
        UsageError: neither exists, the hub cannot be reached, the name is a file's, or there is only a LoRA adapter.
        CheckpointError: its weights are git-lfs pointers.
    """
    folder = local_folder(path_or_id)
    folder = folder if folder is not None else snapshot(str(path_or_id), WANTED)
    _refuse_parts(folder, str(path_or_id))
    return folder


def _refuse_parts(folder: Path, name: str) -> None:
    """Refuse a folder that holds what belongs to a model, but no model."""
    adapter = folder / "adapter_config.json"
    if adapter.is_file() and not (folder / "config.json").is_file():
        base = None
        with contextlib.suppress(ValueError, AttributeError):
            base = json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path")
        of = f" of {base!r}" if base else ""
        raise UsageError(
            f"{name!r} is a LoRA adapter{of}, not a whole model: merge it into its base (peft's merge_and_unload), "
            "save that with its tokenizer, and name the folder"
        )
    for file in folder.glob("*.safetensors"):
        with open(file, "rb") as handle:
            if handle.read(len(_POINTER)) == _POINTER:
                raise CheckpointError(
                    f"{file.name} in {name!r} is a git-lfs pointer, not the weights: run `git lfs pull` there"
                )


def read_config(folder: Path) -> dict[str, Any]:
    """The tree of a folder's config.json.

    Raises:
        CheckpointError: it is missing or no JSON object.
    """
    path = folder / "config.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(folder)!r} holds no readable config.json: {first_line(error)}") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"config.json in {str(folder)!r} is no JSON object")
    return raw


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """No weight-loading bar and no report on buffers that old checkpoints carry, inside the block."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
