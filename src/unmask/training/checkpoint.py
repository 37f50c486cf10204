"""Checkpoints that are whole or not there: made aside, sealed with a hash of every file, then renamed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from unmask.core.errors import CheckpointError
from unmask.core.files import sha256

#: where a checkpoint is made; nothing in it is ever read
STAGING = ".staging"
SEAL = "checksums.json"


def checkpoints(run: str | Path) -> list[Path]:
    """The checkpoint folders of a run, oldest first."""
    found = [p for p in Path(run).glob(f"{PREFIX_CHECKPOINT_DIR}-*") if p.is_dir() and _step(p) >= 0]
    return sorted(found, key=_step)


def last_checkpoint(run: str | Path, say: Callable[[str], None] | None = None) -> str | None:
    """The newest undamaged checkpoint of a run folder; None where there is no checkpoint.

    Args:
        run: the run folder.
        say: told of damaged ones that are passed over.

    Raises:
        CheckpointError: there are checkpoints, and all are damaged.
    """
    faults = []
    for folder in reversed(checkpoints(run)):
        fault = damage(folder)
        if fault is None:
            return str(folder)
        faults.append(fault)
        if say is not None:
            say(f"passing over a damaged checkpoint: {fault}")
    if faults:
        raise CheckpointError(f"every checkpoint in {str(run)!r} is damaged ({faults[0]}): --resume false starts over")
    return None


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint's files; None if they are as they were written."""
    try:
        said = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        for name, digest in said.items():
            if sha256(folder / name) != digest:
                return f"{folder.name}/{name} is not what was written"
    except (OSError, ValueError, AttributeError):
        return f"{folder.name} lacks a file or a readable {SEAL}"
    return None


def publish(run: Path, name: str) -> None:
    """Seal the checkpoint that was made aside and give it its name; before that moment it does not exist."""
    made, final = run / STAGING / name, run / name
    files = sorted(p for p in made.rglob("*") if p.is_file())
    seal = {p.relative_to(made).as_posix(): sha256(p) for p in files}
    (made / SEAL).write_text(json.dumps(seal, indent=1), encoding="utf-8")
    for file in [*files, made / SEAL]:
        # the bytes must be on the disk before the rename says that they are
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
    if final.exists():
        shutil.rmtree(final)
    os.replace(made, final)


def drop_old(run: Path, keep: int | None, best: str | None) -> None:
    """Delete all but the newest ``keep`` checkpoints and the best one."""
    found = checkpoints(run)
    for folder in found[: -(keep or len(found) or 1)]:
        if best is None or folder.name != Path(best).name:
            # renamed first: a folder half deleted must not bear a checkpoint's name
            (run / STAGING).mkdir(exist_ok=True)
            gone = folder.rename(run / STAGING / f"old-{folder.name}")
            shutil.rmtree(gone)


def start_over(run: Path) -> None:
    """Delete every checkpoint: a run that starts anew must not go on from one of an earlier run."""
    if (run / STAGING).exists():
        shutil.rmtree(run / STAGING)
    for folder in checkpoints(run):
        shutil.rmtree(folder)


def _step(folder: Path) -> int:
    number = folder.name.rsplit("-", 1)[1]
    return int(number) if number.isdecimal() else -1
