"""Which recipe a run folder belongs to, and from which checkpoint a run goes on."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unmask.core import distributed
from unmask.core.errors import CheckpointError, UsageError
from unmask.core.files import write_json
from unmask.core.renamed import current
from unmask.training.checkpoint import SEAL, STAGING, checkpoints, damage, last_checkpoint, start_over
from unmask.training.recipe import Recipe
from unmask.training.shuffle import GRAIN

RECIPE_FILE = "recipe.json"

#: what may change between starts of one run: where it is, how it is shown, how its rows are split, whether it resumes
_LOOSE = {
    "output_dir",
    "resume",
    "resume_from_checkpoint",
    "disable_tqdm",
    "report_to",
    "run_name",
    "log_level",
    "log_level_replica",
    "logging_steps",
    "logging_first_step",
    "show_texts",
    "dataloader_num_workers",
    "dataloader_prefetch_factor",
    "dataloader_persistent_workers",
    "dataloader_pin_memory",
    # how a step's rows are split; how many they are is compared
    "per_device_train_batch_size",
    "max_tokens",
    "gradient_accumulation_steps",
    "fsdp",
    "ddp_timeout",
}


def claim(folder: Path, recipe: Recipe, say: Callable[[str], None]) -> str | None:
    """Make a run folder this recipe's, before any work.

    Args:
        folder: made where it is missing.
        recipe: the settings.
        say: where one-line reports go.

    Returns:
        The checkpoint that the run goes on from: the one that ``resume_from_checkpoint`` names, taken into the folder
        if it stands elsewhere; else the last one; None where the run starts.

    Raises:
        UsageError: the folder holds another recipe's run, or ``resume_from_checkpoint`` does not fit.
        CheckpointError: it cannot be written, or that checkpoint is damaged.
    """
    asked = recipe.train.resume_from_checkpoint
    if asked:
        _take_over(folder, recipe, asked)
    file, mine = folder / RECIPE_FILE, _written(recipe)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not recipe.train.resume and distributed.is_main_process():
            start_over(folder)
        distributed.barrier()
        if file.is_file() and last_checkpoint(folder):
            _compare(folder, mine, "choose another output_dir, or --resume false to start over")
        distributed.barrier()
        if distributed.is_main_process():
            write_json(file, mine)
    except OSError as error:
        raise CheckpointError(f"the run folder {str(folder)!r} cannot be written: {error.strerror}") from error
    if asked:
        return str(folder / Path(asked).resolve().name)
    return last_checkpoint(folder, say) if recipe.train.resume else None


def _take_over(folder: Path, recipe: Recipe, asked: str) -> None:
    """See that ``resume_from_checkpoint`` is a whole checkpoint of this recipe, and take it into the run folder.

    The best checkpoint that it remembers comes with it, where it still stands.

    Raises:
        UsageError: it is none, another recipe's, or the run folder goes on from another one already.
        CheckpointError: it is damaged.
    """
    source = Path(asked)
    if not source.is_dir() or not (source / SEAL).is_file():
        raise _no_checkpoint(source)
    source = source.resolve()
    fault = damage(source)
    if fault is not None:
        raise CheckpointError(f"resume_from_checkpoint={asked!r} is damaged: {fault}")
    run = source.parent
    if not (run / RECIPE_FILE).is_file():
        raise UsageError(
            f"resume_from_checkpoint={asked!r} stands in no run folder: {str(run)!r} holds no {RECIPE_FILE}"
        )
    _compare(
        run, _written(recipe), "resume_from_checkpoint goes on with the same recipe; start_from takes weights alone"
    )
    if run == folder.resolve():
        return
    held = distributed.broadcast_object(
        [p.name for p in checkpoints(folder)] if distributed.is_main_process() else None
    )
    if held:
        seal = folder / source.name / SEAL
        if not (seal.is_file() and seal.read_bytes() == (source / SEAL).read_bytes()):
            raise UsageError(
                f"{str(folder)!r} holds checkpoints of its own ({held[-1]}): resume_from_checkpoint={asked!r} needs "
                "another output_dir"
            )
    elif distributed.is_main_process():
        best = json.loads((source / "trainer_state.json").read_text(encoding="utf-8")).get("best_global_step")
        for one in {source, run / f"checkpoint-{best}"}:
            if one.is_dir() and damage(one) is None:
                _copy(one, folder)
        write_json(folder / RECIPE_FILE, _written(recipe))
    distributed.barrier()


def _copy(checkpoint: Path, folder: Path) -> None:
    """A checkpoint under the same name in another folder; it is whole or not there."""
    made = folder / STAGING / checkpoint.name
    try:
        if made.exists():
            shutil.rmtree(made)
        shutil.copytree(checkpoint, made)
        os.replace(made, folder / checkpoint.name)
    except OSError as error:
        raise CheckpointError(f"{str(checkpoint)!r} cannot be taken into {str(folder)!r}: {error.strerror}") from error


def _no_checkpoint(path: Path) -> UsageError:
    inside = [p.name for p in checkpoints(path)] if path.is_dir() else []
    if inside:
        return UsageError(
            f"resume_from_checkpoint={str(path)!r} is a run folder: name one of {', '.join(inside[-5:])} in it"
        )
    beside = [p.name for p in checkpoints(path.parent)] if path.parent.is_dir() else []
    there = "holds no checkpoint that `unmask train` wrote" if path.is_dir() else "is no folder"
    hint = f"; beside it stand {', '.join(beside[-5:])}" if beside else ""
    return UsageError(f"resume_from_checkpoint={str(path)!r} {there}{hint}")


def _written(recipe: Recipe) -> dict[str, str]:
    """A recipe as a run folder keeps it."""
    t = recipe.train
    parts = t.gradient_accumulation_steps * distributed.world_size()
    rows: Any = t.train_batch_size * parts
    if t.max_tokens is not None:
        rows = f"of {t.max_tokens * parts} tokens, in multiples of {math.lcm(GRAIN, parts)}"
    given = {k: str(v) for k, v in sorted(recipe.given.items()) if k not in _LOOSE}
    return given | {"rows a step": str(rows)}


def _compare(folder: Path, mine: dict[str, str], otherwise: str) -> None:
    theirs: dict[str, Any] = current(json.loads((folder / RECIPE_FILE).read_text(encoding="utf-8")))
    for name in sorted({*mine, *theirs} - _LOOSE):
        if _plain(mine.get(name)) != _plain(theirs.get(name)):
            raise UsageError(
                f"{folder} holds a run with {name}={theirs.get(name)} and this recipe has {name}={mine.get(name)}: "
                f"{otherwise}"
            )


def _plain(value: Any) -> Any:
    """One form of a value that a file and a flag write differently: 1e-3 and 0.001, true and True."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value).lower() if str(value).lower() in ("true", "false", "none") else value
