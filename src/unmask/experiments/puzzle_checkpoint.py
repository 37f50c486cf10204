"""Checkpoints of a training run on puzzles: written whole beside their place, then moved there."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unmask.core.errors import CheckpointError, UsageError
from unmask.core.files import write_json
from unmask.core.renamed import current
from unmask.experiments.puzzle_run import Run, Trained
from unmask.training.ema import Ema

STATE = "state.json"


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rsplit("-", 1)[1]))
    return found[-1] if found else None


def save(
    where: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema,
    run: Run,
    made: Mapping[str, Any],
    state: Trained,
) -> None:
    """Write a checkpoint beside its place, move it there whole, then drop older ones."""
    staging, final = where / ".staging", where / f"checkpoint-{state.step}"
    if final.exists():
        return  # checkpoints are whole, and this step's is there
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    save_file(
        {n: p.detach().cpu().contiguous() for n, p in model.named_parameters()}, str(staging / "model.safetensors")
    )
    save_file(_tensors(optimizer), str(staging / "optimizer.safetensors"))
    ema.save(staging)
    write_json(staging / STATE, {"run": dataclasses.asdict(run), "made": dict(made), **vars(state)})
    for file in staging.iterdir():
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
    os.replace(staging, final)
    for old in where.glob("checkpoint-*"):
        if old != final:
            shutil.rmtree(old)


def resume(
    last: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema,
    run: Run,
    made: Mapping[str, Any],
) -> Trained:
    """Everything as the checkpoint ``last`` has it.

    Raises:
        UsageError: it is of another run, data or network. CheckpointError: it is damaged.
    """
    try:
        kept = json.loads((last / STATE).read_text(encoding="utf-8"))
        weights, moments = load_file(str(last / "model.safetensors")), load_file(str(last / "optimizer.safetensors"))
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{last} is damaged ({error}): delete it to start again") from error
    # checkpoints of before say not what else they were made of
    theirs, mine = {**made, **kept.get("made", {}), **current(kept["run"])}, {**made, **dataclasses.asdict(run)}
    if differs := sorted(k for k in mine if theirs.get(k) != mine[k]):
        name = differs[0]
        raise UsageError(
            f"{last.parent} holds a run with {name}={theirs.get(name)}, this one has {name}={mine[name]}: "
            "choose another folder or delete that one"
        )
    own = dict(model.named_parameters())
    if {n: p.shape for n, p in own.items()} != {n: w.shape for n, w in weights.items()}:
        raise UsageError(f"{last} holds a network of another shape: choose another folder or delete that one")
    with torch.no_grad():
        for name, weight in weights.items():
            own[name].copy_(weight)
    _refill(optimizer, moments)
    ema.load(last)
    losses = [(int(s), float(v)) for s, v in kept["losses"]]
    where = kept.get("device", "a device that was not recorded")
    total, count = kept.get("sums", (0.0, 0))
    precision = kept.get("precision") or "bf16"  # the only one there was
    return Trained(kept["step"], kept["seconds"], losses, where, (float(total), int(count)), precision)


def _tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    parts = optimizer.state_dict()
    parts = parts if "muon" in parts else {"adamw": parts}
    return {
        f"{part}.{i}.{name}": value.detach().cpu().contiguous()
        for part, tree in parts.items()
        for i, entry in tree["state"].items()
        for name, value in entry.items()
    }


def _refill(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    tree = optimizer.state_dict()
    parts = tree if "muon" in tree else {"adamw": tree}
    for key, value in tensors.items():
        part, i, name = key.split(".")
        parts[part]["state"].setdefault(int(i), {})[name] = value
    optimizer.load_state_dict(tree)
