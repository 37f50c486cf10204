"""A quick diagnosis while training: each finding logged as a number."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.diagnosis.context import BUDGETS
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.finding import RANK
from unmask.diagnosis.native import NativeSubject, masking_process_of
from unmask.diagnosis.subject import Batch
from unmask.models.text_model import TextModel

#: rows x network calls that a quick diagnosis takes, rounded up: what the first one is expected to cost
EXPECTED_FORWARDS = 10_000


@dataclass
class QuickProbe:
    """Given a model and a step, scalars to log and lines to show; nothing between its turns.

    Attributes:
        subject: around the model that is being trained.
        every: steps between diagnoses.
        budget_share: it takes no more than this share of the time since training began; a turn that would is put off,
            the first one by what a few rows take.
    """

    subject: NativeSubject
    every: int
    budget_share: float = 0.02
    _start: float = field(default_factory=time.perf_counter)
    _spent: float = 0.0
    _cost: float = 0.0
    _turn: int = -1

    def __call__(self, net: Any, step: int) -> tuple[dict[str, float], list[str]]:
        turn = step // self.every
        if turn == self._turn:
            return {}, []
        self.subject.denoiser = net
        if not self._cost:
            self._cost = self._expected()
        if self._spent + self._cost > self.budget_share * (time.perf_counter() - self._start):
            return {}, []
        self._turn = turn
        verdict = diagnose(self.subject)
        self._cost = verdict.seconds
        self._spent += verdict.seconds
        scalars = {f"diagnosis_{f.check}": float(RANK[f.status] - 1) for f in verdict.findings if f.status != "not_run"}
        scalars |= {f"diagnosis_{f.check}_share": f.share for f in verdict.findings if f.status in ("warn", "fail")}
        share = self._spent / (time.perf_counter() - self._start)
        scalars["diagnosis_share_of_time"] = share
        return scalars, [f"step {step}: {verdict.headline} ({share:.1%} of the time went into diagnosis)"]

    def _expected(self) -> float:
        """Seconds that a diagnosis will take, from one scoring of the rows it would score."""
        start = time.perf_counter()
        batch = self.subject.data(BUDGETS["quick"].rows)
        with torch.no_grad():
            self.subject.training_view(batch, 0)
        taken = time.perf_counter() - start
        self._spent += taken
        return taken * EXPECTED_FORWARDS / len(batch)


def quick_probe(
    model: TextModel, validation: Any, *, every: int, budget_share: float = 0.02
) -> Callable[[Any, int], tuple[dict[str, float], list[str]]]:
    """A :class:`QuickProbe` for a training run.

    Args:
        model: being trained.
        validation: held-out canvases (:class:`unmask.data.canvas.CanvasDataset`).
        every: steps between diagnoses.
        budget_share: see :class:`QuickProbe`.
    """
    from unmask.data.canvas import collate

    def rows(n: int) -> Batch:
        batch: dict[str, Tensor] = collate([validation[i] for i in range(min(n, len(validation)))])
        latent = batch.get("latent")
        return Batch(batch["input_ids"], None if latent is None else Condition.of(latent))

    subject = NativeSubject(
        model.denoiser,
        rows,
        tokenizer=model.tokenizer,
        law=masking_process_of(model.card.recipe),
        name="the model in training",
    )
    return QuickProbe(subject, every, budget_share)
