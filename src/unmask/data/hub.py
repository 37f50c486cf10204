"""Whether a name is a folder on this machine or a repository on the hub, and where results about it are written."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

from unmask.core.errors import UsageError

log = logging.getLogger("unmask")

#: what a folder with a model holds, finished or not; a folder without any of these is no model and hides no hub id
MODEL_FILES = (
    "config.json",
    "unmask.json",
    "recipe.json",
    "adapter_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
)
_PART = r"(?!.*(?:--|\.\.))[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_ID = re.compile(rf"{_PART}(/{_PART})?")


def may_be_id(name: str) -> bool:
    """Whether a name has the form of a hub id: ``owner/name``, or one word."""
    return bool(_ID.fullmatch(name)) and not name.startswith((".", "/", "~"))


def local_folder(name_or_path: str | Path, holds: Sequence[str] = MODEL_FILES) -> Path | None:
    """The folder of that name; None where there is none, or where it holds no model and the name may be a hub id's.

    A folder of results (``owner/name/evaluation``) must not stand in the way of the model that they are about. Where
    the hub's files are in the cache as well, the folder is taken, and a warning says so.

    Args:
        name_or_path: a path or a hub id.
        holds: files of which a folder must have one to be taken for a model.

    Raises:
        UsageError: the name is that of a file.
    """
    name, folder = str(name_or_path), Path(name_or_path)
    if folder.is_file():
        ending = folder.suffix.lower()
        kind = {".gguf": "a GGUF file, which is not read", ".safetensors": "a file of weights"}.get(ending, "a file")
        raise UsageError(f"{name!r} is {kind}: give the folder that holds config.json, the weights and the tokenizer")
    if not folder.is_dir():
        return None
    if _holds(folder, holds):
        if _cached(name):
            log.warning(
                "%r is a folder here and a model in the hub's cache: the folder is taken; "
                "run from another folder for the hub's model",
                name,
            )
        return folder
    return None if may_be_id(name) else folder


def snapshot(name: str, wanted: Sequence[str]) -> Path:
    """The local folder of a hub repository, downloaded where it is not cached and a network is there.

    Args:
        name: a hub id.
        wanted: patterns of the files to fetch.

    Raises:
        UsageError: it is no hub id, or the hub cannot be reached.
    """
    if not may_be_id(name):
        raise no_such(name, "it is no hub id")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(wanted)))
    except (OSError, LocalEntryNotFoundError, HfHubHTTPError, HFValidationError) as error:
        raise no_such(name, type(error).__name__) from error


def no_such(name_or_path: str | Path, why: str) -> UsageError:
    """The error for a name that is neither a folder with a model nor a hub id that can be reached.

    Args:
        name_or_path: what was asked for.
        why: what the hub's library said, in a word.
    """
    name = str(name_or_path)
    if Path(name).is_dir():
        return UsageError(
            f"the folder {name!r} holds no model (no config.json, no unmask.json), and no hub id of that name can be "
            f"reached from here ({why})"
        )
    if not may_be_id(name):
        return UsageError(f"there is no model folder {name!r}: give a run folder, a checkpoint's folder or a hub id")
    return UsageError(f"there is no model folder {name!r}, and no hub id of that name can be reached from here ({why})")


def results_place(model_path: str | Path | None, what: str, ending: str = "") -> Path:
    """The default folder for results about a model.

    A finished run folder of ours that may be written into gets them inside (``run/evaluation``). Other people's folders
    and the hub's cache are never written into: for these it is a name in the current folder
    (``evaluation--owner--name``), which is no hub id's, as those have no ``--``.

    Args:
        model_path: what the model was loaded from; None for one in memory.
        what: ``evaluation`` or ``diagnosis``.
        ending: of a file's name, such as ``.html``.
    """
    if model_path is None:
        return Path(f"{what}{ending}")
    folder = Path(model_path)
    if (folder / "unmask.json").is_file() and os.access(folder, os.W_OK) and not in_hub_cache(folder):
        return folder / f"{what}{ending}"
    return Path(f"{what}--{_label(str(model_path))}{ending}")


def in_hub_cache(folder: Path) -> bool:
    """Whether a folder is one of the hub library's snapshots."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return folder.resolve().is_relative_to(Path(HF_HUB_CACHE).resolve())


def _label(name: str) -> str:
    """A word for a model: of an id its parts, of a snapshot its repository, of a folder its last part."""
    path = Path(name)
    if path.is_dir() and (_holds(path, MODEL_FILES) or not may_be_id(name)):
        parts = path.resolve().parts
        snapshot = [part for part in parts if part.startswith("models--")]
        return snapshot[-1].removeprefix("models--") if snapshot else parts[-1]
    return name.replace("/", "--")


def _holds(folder: Path, files: Sequence[str]) -> bool:
    return any((folder / file).is_file() for file in files)


def _cached(name: str) -> bool:
    """Whether the hub's cache holds a model of that name; asks no network."""
    if not may_be_id(name):
        return False
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "config.json"), str)
