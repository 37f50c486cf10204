"""Training on puzzles, fast on two cores and on a GPU, stopped and resumed at will.

A plain loop rather than the Hugging Face Trainer of the text models: batches and masks are functions of (seed, step)
alone, so there is no sampler to restore; a command may stop after some minutes and the next goes on bit for bit; and
networks this small feel the Trainer's own work in every step. Objective, mask law, optimiser and weight average are
those of the text models.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from unmask.core.errors import UnmaskError, UsageError
from unmask.core.precision import fastest
from unmask.data.puzzles import PuzzleBatch
from unmask.experiments.puzzle_checkpoint import last_checkpoint, resume, save
from unmask.experiments.puzzle_run import Batches, Loss, Run, Trained, denoising_loss, machine
from unmask.training.arguments import TrainArguments
from unmask.training.ema import Ema
from unmask.training.optimizer import MuonAndAdamW


def train(
    model: nn.Module,
    boards: Batches,
    run: Run,
    folder: str | Path,
    *,
    loss: Loss | None = None,
    made: Mapping[str, Any] = MappingProxyType({}),
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
        made: what else makes the run, in words: its data, its network. Kept with it, and compared when it is resumed.
        minutes: stop after this long; the checkpoint is then written and the next command goes on.
        until: stop at this step, likewise.
        device: where to train, in the precision that multiplies fastest there.
        save_every: seconds between checkpoints.
        compile: torch.compile the blocks (worth it on a GPU).
        say: gets a line at each checkpoint.
        progress: show a bar.

    Raises:
        UsageError: the folder holds another run, or none where ``minutes`` is 0.
        CheckpointError: a damaged one.
        UnmaskError: the loss is not finite.
    """
    where = Path(folder)
    model.to(device).train()
    optimizer = _optimizer(model, run)
    ema = Ema(model, run.ema)
    state = Trained()
    if (last := last_checkpoint(where)) is not None:
        state = resume(last, model, optimizer, ema, run, made)
    elif minutes == 0:
        raise UsageError(
            f"minutes=0 measures what is trained already, and {str(where)!r} holds no checkpoint: train first"
        )
    if compile:
        for block in model.blocks:  # type: ignore[union-attr]
            block.compile()  # type: ignore[operator]
    loss = loss or denoising_loss(run)
    peaks = [run.muon_lr, run.lr] if run.optimizer == "muon" else [run.lr]
    kind = torch.device(device).type
    here = machine(device)
    started = saved = time.monotonic()
    base, first, sums = state.seconds, state.step, list(state.sums)
    bar = _bar(run.steps, state.step) if progress else nullcontext()
    wanted = range(state.step, min(run.steps, run.steps if until is None else until))
    with bar as shown:
        for step, drawn in zip(wanted, _made(boards, run, wanted, kind), strict=True):
            if minutes is not None and time.monotonic() - started > 60 * minutes:
                break
            batch = drawn.to(device)
            if not state.precision:
                choice = fastest(model, batch.answer_BL.numel(), device, backward=True)
                say(str(choice))
                state.precision = choice.precision
            with torch.autocast(kind, torch.bfloat16, enabled=state.precision == "bf16"):
                value = loss(model, batch, step)
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * run.rate(step)
            optimizer.step()
            ema.update(model)
            state.step, state.device = step + 1, here
            sums[0] += value.detach()
            sums[1] += 1
            if shown is not None:
                shown.update(1)
            now = time.monotonic()
            if state.step % 50 == 0 or state.step == run.steps:
                mean = _finite(sums, state.step)
                state.losses.append((state.step, mean))
                sums = [0.0, 0]
                if shown is not None:
                    shown.set_postfix_str(f"loss {mean:.3f}")
            if now - saved > save_every:
                _finite(sums, state.step)  # a checkpoint replaces the one before
                saved = now
                state.seconds, state.sums = base + now - started, (float(sums[0]), int(sums[1]))
                save(where, model, optimizer, ema, run, made, state)
                rate = (state.step - first) * run.batch / (now - started)
                say(f"step {state.step}/{run.steps}  loss {_last(state)}  {rate:,.0f} boards/s")
    state.seconds = base + time.monotonic() - started
    if state.step > first:
        _finite(sums, state.step)
        state.sums = (float(sums[0]), int(sums[1]))
        save(where, model, optimizer, ema, run, made, state)
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


def _put(model: nn.Module, ema: Ema) -> None:
    """The averaged weights into the model, which is not trained further by this command."""
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, mean in ema.average.items():
            own[name].copy_(mean)


def _finite(sums: list[Any], step: int) -> float:
    """Mean of the losses since the last entry (0 when there is none).

    Raises:
        UnmaskError: not a finite number; one such loss makes every later weight one.
    """
    mean = float(sums[0]) / max(1, sums[1])
    if not math.isfinite(mean):
        raise UnmaskError(f"the loss is {mean} before step {step}: lower lr or muon_lr")
    return mean


def _last(state: Trained) -> str:
    return f"{state.losses[-1][1]:.3f}" if state.losses else "-"


def _bar(total: int, start: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, initial=start, unit="step", dynamic_ncols=True, smoothing=0.05)
