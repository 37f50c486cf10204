"""From a name to the folder with a model's files: one on this machine, or the hub's snapshot in the local cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unmask.core.errors import CheckpointError, first_line
from unmask.data.hub import local_folder, may_be_id, no_such

#: what is fetched of a hub's repository: never pickles, never code
WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.spm", "*.tiktoken", "bpe.codes")


def find(path_or_id: str | Path) -> Path:
    """The folder itself, or the hub's files in the local cache.

    A local folder without a model (no config.json, no unmask.json) does not hide a hub id; where both a folder with a
    model and a hub id of that name are at hand, the folder is taken, and a warning says so.

    Raises:
        WrongUse: neither exists, the hub cannot be reached, or the name is a file's.
    """
    folder = local_folder(path_or_id)
    if folder is not None:
        return folder
    name = str(path_or_id)
    if not may_be_id(name):
        raise no_such(name, "it is no hub id")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(WANTED)))
    except (OSError, LocalEntryNotFoundError, HfHubHTTPError, HFValidationError) as error:
        raise no_such(name, type(error).__name__) from error


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
