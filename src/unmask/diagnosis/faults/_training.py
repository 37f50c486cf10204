"""A short training, plain on purpose: what a planted fault of training needs, and nothing more."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.core.random import Stream, generator
from unmask.diagnosis.native import NativeSubject, there
from unmask.diagnosis.subject import Subject
from unmask.diffusion.objective import token_losses
from unmask.diffusion.process import MaskingProcess
from unmask.models.denoiser import MaskedDiffusionModel


@dataclass(frozen=True)
class ShortTraining:
    """AdamW with linear decay over the rows given.

    Attributes:
        steps, batch, lr, seed: as usual.
        law: how positions are hidden; half of training's usual leaning towards high masks.
        unconditional: share of rows that get the null condition.
        score: which positions' losses count, from the clean ids [B, L]; all when None.
        twist: changes the condition of a batch before it is used; untouched when None.
    """

    steps: int = 600
    batch: int = 64
    lr: float = 3e-3
    seed: int = 0
    law: MaskingProcess = MaskingProcess("count", time_power=1.5)
    unconditional: float = 0.1
    score: Callable[[Tensor], Tensor] | None = None
    twist: Callable[[Condition, torch.Generator], Condition] | None = None

    def __call__(self, net: MaskedDiffusionModel, ids_NL: Tensor, cond: Condition | None) -> MaskedDiffusionModel:
        """Train in place; evaluation mode afterwards."""
        noise = generator(self.seed, Stream.SHUFFLE)
        best = torch.optim.AdamW(net.parameters(), self.lr, betas=(0.9, 0.98), weight_decay=0.01)
        rate = torch.optim.lr_scheduler.OneCycleLR(best, self.lr, total_steps=self.steps + 1, pct_start=0.1)
        net.train()
        for _ in range(self.steps):
            rows = torch.randint(0, len(ids_NL), (self.batch,), generator=noise)
            ids_BL = ids_NL[rows]
            part = None if cond is None else cond[rows]
            if part is not None:
                part = self.twist(part, noise) if self.twist else part
                part = part.drop(torch.rand(self.batch, generator=noise) < self.unconditional)
            valid_BL = there(net, ids_BL)
            corruption = self.law.corrupt(ids_BL, net.mask_id, noise, valid_BL)
            weight_BL = None if self.score is None else self.score(ids_BL).float()
            found = token_losses(net, corruption, part, token_weight_BL=weight_BL, valid_BL=valid_BL)
            loss = found.loss
            if found.length_nats_B is not None:
                loss = loss + found.length_nats_B.sum() / found.tokens_B.sum()
            best.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            best.step()
            rate.step()
        return net.eval()


def retrained(subject: Subject, training: ShortTraining, *, rows: int = 20_000) -> NativeSubject:
    """The subject with a model of the same shape that went through ``training`` from random weights.

    Args:
        subject: a native subject with training rows (and their vectors, if it is conditional).
        training: what to do.
        rows: training rows at most.

    Raises:
        UsageError: not a native subject, or no training rows.
    """
    native, net = native_network(subject)
    if native.train is None:
        raise UsageError("this fault is trained: give the subject training rows")
    data = native.data(rows, "train")
    if net.conditional and data.cond is None:
        raise UsageError("this fault is trained: give the training rows with their semantic vectors")
    torch.manual_seed(training.seed)
    new = MaskedDiffusionModel(net.config)
    if new.latent is not None and net.latent is not None:
        new.latent.whiten.load_state_dict(net.latent.whiten.state_dict())
    return with_denoiser(native, training(new, data.ids_BL, data.cond))


def natively(subject: Subject) -> NativeSubject:
    """The subject as a native one.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(subject, NativeSubject):
        raise UsageError(f"this fault is planted into a native subject, not into {type(subject).__name__}")
    return subject


def native_network(subject: Subject) -> tuple[NativeSubject, MaskedDiffusionModel]:
    """The subject as a native one, and its network, one of unmask's own.

    Raises:
        UsageError: it is none, or holds another network.
    """
    native = natively(subject)
    if not isinstance(native.denoiser, MaskedDiffusionModel):
        raise UsageError(f"this fault needs a network of unmask's own, not {type(native.denoiser).__name__}")
    return native, native.denoiser


def with_denoiser(subject: NativeSubject, denoiser: object) -> NativeSubject:
    """The same subject around another denoiser; nothing of it lies in a folder any more."""
    other = copy.copy(subject)
    other.denoiser, other.path = denoiser, None  # type: ignore[assignment]
    other.conditional = denoiser.conditional  # type: ignore[attr-defined]
    return other
