"""What a training run on puzzles is: its settings, where it stands, where its boards come from, what it costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from unmask.core.denoiser import Denoiser
from unmask.core.errors import UsageError
from unmask.core.random import Stream, generator
from unmask.data.puzzles import Puzzle, PuzzleBatch
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskingProcess

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
        time_power: above 1 more of the high masks (see :class:`MaskingProcess`).
        ema: decay of the weight average, which is what is measured.
        seed: names weights, batches and masks.
    """

    steps: int
    batch: int = 64
    optimizer: str = "muon"
    lr: float = 2e-3
    muon_lr: float = 0.02
    hide: str = "unknown"
    time_power: float = 1.0
    ema: float = 0.998
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise UsageError(f"steps={self.steps} and batch={self.batch} must be at least 1")
        if self.hide not in ("unknown", "all"):
            raise UsageError(f"hide={self.hide!r} must be 'unknown' or 'all'")
        if self.optimizer not in ("muon", "adamw"):
            raise UsageError(f"optimizer={self.optimizer!r} must be 'muon' or 'adamw'")

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
        device: where the last steps were made.
        sums: of the losses since the last entry, and how many they are.
        precision: what the matrix products run in; chosen at the first step and kept when the run is resumed.
    """

    step: int = 0
    seconds: float = 0.0
    losses: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    device: str = ""
    sums: tuple[float, int] = (0.0, 0)
    precision: str = ""


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
    law = MaskingProcess(time_power=run.time_power)

    def loss(model: Denoiser, batch: PuzzleBatch, step: int) -> Tensor:
        open_BL = ~batch.given_BL if run.hide == "unknown" else None
        noise = generator(run.seed, step, Stream.CORRUPT)
        return token_losses(model, law.corrupt(batch.answer_BL, model.mask_id, noise, open_BL)).loss

    return loss


def flops_per_row(model: nn.Module, batch: PuzzleBatch, loss: Loss) -> float:
    """What a row costs in training: floating-point operations of its matrix products, forward and backward.

    Counted in one run of ``loss`` (a multiply-add is two). Unlike minutes they do not depend on what else a machine
    does, so that arms of one table can be compared at equal compute.

    Args:
        model: on the batch's device; its gradients are dropped.
        batch: some rows.
        loss: what training would call.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # fused attention on a CPU is not counted, its parts are
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        loss(model, batch, 0).backward()
    model.zero_grad(set_to_none=True)
    return float(counted.get_total_flops()) / len(batch)


def machine(device: str | torch.device) -> str:
    """The device in words."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} thread(s)"


def run_record(run: Run, state: Trained) -> dict[str, Any]:
    """What pages and cards say of a run; the device is that of the training, whatever measures now."""
    out = {**dataclasses.asdict(run), "steps_done": state.step, "boards": state.step * run.batch}
    return {
        **out,
        "minutes": round(state.seconds / 60, 1),
        "device": state.device,
        "precision": state.precision,
        "losses": [list(point) for point in state.losses],
    }
