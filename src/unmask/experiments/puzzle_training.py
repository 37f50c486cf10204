"""Training on puzzles, fast on two cores and on a GPU, stopped and resumed at will.

A plain loop rather than the Hugging Face Trainer of the text models: batches and masks are functions of (seed, step)
alone, so there is no sampler to restore; a command may stop after some minutes and the next goes on bit for bit; and
networks this small feel the Trainer's own work in every step. Objective, mask law, optimiser and weight average are
those of the text models.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from unmask.core.denoiser import Denoiser
from unmask.core.errors import CheckpointError, UnmaskError, WrongUse
from unmask.core.random import Stream, generator
from unmask.data.puzzles import Puzzle, PuzzleBatch
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskLaw
from unmask.models.text_model import write_json
from unmask.training.arguments import TrainArguments
from unmask.training.ema import Ema
from unmask.training.optimizer import MuonAndAdamW

STATE = "state.json"
#: what a batch costs: (network, batch, step) -> the loss, nats a hidden token
Loss = Callable[[Any, PuzzleBatch, int], Tensor]


@dataclass(frozen=True)
class Run:
    """Settings of a training run; they must stay the same when it is resumed.

    Attributes:
        steps: optimiser steps of the whole run: 5 % warm-up, then constant, the last fifth falling to zero.
        batch: boards a step.
        optimizer: ``muon`` (Muon for the blocks' matrices) or ``adamw``.
        lr: AdamW's peak learning rate. muon_lr: Muon's.
        hide: ``unknown`` hides 1 to all of what the question does not give; ``all`` hides 1 to all cells, givens too.
        tilt: above 1 more of the high masks (see :class:`MaskLaw`).
        ema: decay of the weight average, which is what is measured.
        seed: names weights, batches and masks.
    """

    steps: int
    batch: int = 64
    optimizer: str = "muon"
    lr: float = 2e-3
    muon_lr: float = 0.02
    hide: str = "unknown"
    tilt: float = 1.0
    ema: float = 0.998
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise WrongUse(f"steps={self.steps} and batch={self.batch} must be at least 1")
        if self.hide not in ("unknown", "all"):
            raise WrongUse(f"hide={self.hide!r} must be 'unknown' or 'all'")
        if self.optimizer not in ("muon", "adamw"):
            raise WrongUse(f"optimizer={self.optimizer!r} must be 'muon' or 'adamw'")

    @classmethod
    def sized(cls, steps: int, batch: int, **settings: Any) -> Run:
        """A run whose weight average spans a seventh of it, 500 steps at most."""
        return cls(steps, batch, ema=round(min(0.998, max(0.5, 1 - 7 / steps)), 4), **settings)

    def rate(self, step: int) -> float:
        """Share of the peak learning rate at a step."""
        up = (step + 1) / max(1, round(0.05 * self.steps))
        return min(1.0, up, (self.steps - step) / max(1, round(0.2 * self.steps)))


@dataclass
class Trained:
    """Where a run stands.

    Attributes:
        step: steps done; ``finished`` when these are all.
        seconds: spent on training over all commands.
        losses: (step, mean loss since the last entry, nats a hidden token).
    """

    step: int = 0
    seconds: float = 0.0
    losses: list[tuple[int, float]] = dataclasses.field(default_factory=list)


class Batches(Protocol):
    """Where boards come from: :class:`unmask.data.puzzles.Shards`, :class:`Fresh`, rows of text."""

    def batch(self, size: int, seed: int, step: int) -> PuzzleBatch:
        """Batch number ``step``, a function of the arguments alone."""
        ...


@dataclass(frozen=True)
class Fresh:
    """New puzzles at every step, for kinds that are cheap to make."""

    puzzle: Puzzle

    def batch(self, size: int, seed: int, step: int) -> PuzzleBatch:
        return self.puzzle.sample(size, np.random.default_rng([seed, step]))


def denoising_loss(run: Run) -> Loss:
    """Mean cross-entropy of hidden cells, a uniform number of which is hidden."""
    law = MaskLaw(tilt=run.tilt)

    def loss(model: Denoiser, batch: PuzzleBatch, step: int) -> Tensor:
        open_BL = ~batch.given_BL if run.hide == "unknown" else None
        noise = generator(run.seed, step, Stream.CORRUPT)
        return token_losses(model, law.corrupt(batch.answer_BL, model.mask_id, noise, open_BL)).loss

    return loss


def train(
    model: nn.Module,
    boards: Batches,
    run: Run,
    folder: str | Path,
    *,
    loss: Loss | None = None,
    minutes: float | None = None,
    until: int | None = None,
    device: str | torch.device = "cpu",
    save_every: float = 60.0,
    compile: bool = False,
    say: Callable[[str], None] = print,
    progress: bool = False,
) -> Trained:
    """Train to the run's end or for some minutes, going on where an earlier command stopped.

    The model ends with the averaged weights; the folder holds one complete checkpoint, ``checkpoint-STEP``.

    Args:
        model: with its fresh weights; a checkpoint in the folder replaces them.
        boards: gives the batches.
        run: settings.
        folder: of the checkpoints.
        loss: :func:`denoising_loss` when None.
        minutes: stop after this long; the checkpoint is then written and the next command goes on.
        until: stop at this step, likewise.
        device: where to train; bf16 autocast everywhere.
        save_every: seconds between checkpoints.
        compile: torch.compile the blocks (worth it on a GPU).
        say: gets a line at each checkpoint.
        progress: show a bar.

    Raises:
        WrongUse: the folder holds another run. CheckpointError: a damaged one. UnmaskError: the loss is not finite.
    """
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    model.to(device).train()
    optimizer = _optimizer(model, run)
    ema = Ema(model, run.ema)
    state = Trained()
    if (last := last_checkpoint(where)) is not None:
        state = _resume(last, model, optimizer, ema, run)
    if compile:
        for block in model.blocks:  # type: ignore[union-attr]
            block.compile()  # type: ignore[operator]
    loss = loss or denoising_loss(run)
    peaks = [run.muon_lr, run.lr] if run.optimizer == "muon" else [run.lr]
    kind = torch.device(device).type
    started = saved = time.monotonic()
    base, first, sums = state.seconds, state.step, [0.0, 0]
    bar = _bar(run.steps, state.step) if progress else nullcontext()
    wanted = range(state.step, min(run.steps, run.steps if until is None else until))
    with bar as shown:
        for step, made in zip(wanted, _made(boards, run, wanted, kind), strict=True):
            if minutes is not None and time.monotonic() - started > 60 * minutes:
                break
            batch = made.to(device)
            with torch.autocast(kind, torch.bfloat16):
                value = loss(model, batch, step)
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * run.rate(step)
            optimizer.step()
            ema.update(model)
            state.step = step + 1
            sums[0] += value.detach()
            sums[1] += 1
            if shown is not None:
                shown.update(1)
            now = time.monotonic()
            if state.step % 50 == 0 or state.step == run.steps:
                mean = float(sums[0]) / sums[1]
                if not torch.isfinite(torch.tensor(mean)):
                    raise UnmaskError(f"the loss is {mean} at step {state.step}: lower lr or muon_lr")
                state.losses.append((state.step, mean))
                sums = [0.0, 0]
                if shown is not None:
                    shown.set_postfix_str(f"loss {mean:.3f}")
            if now - saved > save_every:
                saved = now
                state.seconds = base + now - started
                _save(where, model, optimizer, ema, run, state)
                rate = (state.step - first) * run.batch / (now - started)
                say(f"step {state.step}/{run.steps}  loss {_last(state)}  {rate:,.0f} boards/s")
    state.seconds = base + time.monotonic() - started
    if state.step > first:
        _save(where, model, optimizer, ema, run, state)
        rate = (state.step - first) * run.batch / (state.seconds - base)
        say(f"step {state.step}/{run.steps}  loss {_last(state)}  {rate:,.0f} boards/s")
    _put(model, ema)
    model.eval()
    return state


def _made(boards: Batches, run: Run, steps: range, kind: str) -> Iterable[PuzzleBatch]:
    """The steps' batches; on a GPU other processes make them ahead, or it would wait for them."""
    ahead = _Ahead(boards, run, steps)
    if kind != "cuda" or not steps:
        return (ahead[i] for i in range(len(ahead)))
    return DataLoader(ahead, batch_size=None, num_workers=2, prefetch_factor=8)


@dataclass(frozen=True)
class _Ahead(Dataset[PuzzleBatch]):
    """Batches by their place in the rest of the run."""

    boards: Batches
    run: Run
    steps: range

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, i: int) -> PuzzleBatch:
        return self.boards.batch(self.run.batch, self.run.seed, self.steps[i])


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.rsplit("-", 1)[1]))
    return found[-1] if found else None


def record(run: Run, state: Trained, device: str | torch.device) -> dict[str, Any]:
    """What pages and cards say of a run."""
    kind = torch.device(device).type
    name = torch.cuda.get_device_name() if kind == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    out = {**dataclasses.asdict(run), "steps_done": state.step, "boards": state.step * run.batch}
    return {
        **out,
        "minutes": round(state.seconds / 60, 1),
        "device": name,
        "losses": [list(point) for point in state.losses],
    }


def _optimizer(model: nn.Module, run: Run) -> torch.optim.Optimizer:
    if run.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=run.lr, betas=(0.9, 0.98), weight_decay=0.01)
    inside = (".blocks.", ".h.")
    matrices = [
        p
        for n, p in model.named_parameters()
        if any(part in f".{n}" for part in inside) and p.ndim == 2 and "relation" not in n
    ]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    settings = TrainArguments(output_dir="unused", learning_rate=run.lr, muon_lr=run.muon_lr, report_to="none")
    return MuonAndAdamW(matrices, others, settings)


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


def _save(where: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema, run: Run, state: Trained) -> None:
    """Write a checkpoint beside its place, move it there whole, then drop older ones."""
    staging, final = where / ".staging", where / f"checkpoint-{state.step}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    save_file(
        {n: p.detach().cpu().contiguous() for n, p in model.named_parameters()}, str(staging / "model.safetensors")
    )
    save_file(_tensors(optimizer), str(staging / "optimizer.safetensors"))
    ema.save(staging)
    write_json(staging / STATE, {"run": dataclasses.asdict(run), **vars(state)})
    for file in staging.iterdir():
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
    shutil.rmtree(final, ignore_errors=True)
    os.replace(staging, final)
    for old in where.glob("checkpoint-*"):
        if old != final:
            shutil.rmtree(old)


def _resume(last: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema, run: Run) -> Trained:
    try:
        kept = json.loads((last / STATE).read_text(encoding="utf-8"))
        weights, moments = load_file(str(last / "model.safetensors")), load_file(str(last / "optimizer.safetensors"))
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{last} is damaged ({error}): delete it to start again") from error
    mine = dataclasses.asdict(run)
    if differs := sorted(k for k in mine if kept["run"].get(k) != mine[k]):
        name = differs[0]
        raise WrongUse(
            f"{last.parent} holds a run with {name}={kept['run'].get(name)}, this one has {name}={mine[name]}: "
            "choose another folder or delete that one"
        )
    own = dict(model.named_parameters())
    if {n: p.shape for n, p in own.items()} != {n: w.shape for n, w in weights.items()}:
        raise WrongUse(f"{last} holds a network of another shape: choose another folder or delete that one")
    with torch.no_grad():
        for name, weight in weights.items():
            own[name].copy_(weight)
    _refill(optimizer, moments)
    ema.load(last)
    return Trained(kept["step"], kept["seconds"], [(int(s), float(v)) for s, v in kept["losses"]])


def _put(model: nn.Module, ema: Ema) -> None:
    """The averaged weights into the model, which is not trained further by this command."""
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, mean in ema.average.items():
            own[name].copy_(mean)


def _last(state: Trained) -> str:
    return f"{state.losses[-1][1]:.3f}" if state.losses else "-"


def _bar(total: int, start: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, initial=start, unit="step", dynamic_ncols=True, smoothing=0.05)
