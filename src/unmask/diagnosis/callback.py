"""A quick diagnosis while training: each finding logged as a number."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from unmask.core.condition import Condition
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.finding import RANK
from unmask.diagnosis.native import NativeSubject, law_of
from unmask.diagnosis.subject import Batch
from unmask.models.text_model import TextModel


@dataclass
class QuickProbe:
    """Given a model and a step, scalars to log and lines to show; nothing between its turns.

    Attributes:
        subject: around the model that is being trained.
        every: steps between diagnoses.
        budget_share: it takes no more than this share of the time since training began; a turn that would is put off.
    """

    subject: NativeSubject
    every: int
    budget_share: float = 0.02
    _start: float = field(default_factory=time.perf_counter)
    _spent: float = 0.0
    _last: float = 0.0
    _turn: int = -1

    def __call__(self, net: Any, step: int) -> tuple[dict[str, float], list[str]]:
        turn, elapsed = step // self.every, time.perf_counter() - self._start
        # the first turn is free to run: how long one takes is not known before
        if turn == self._turn or (self._last and self._spent + self._last > self.budget_share * elapsed):
            return {}, []
        self._turn = turn
        self.subject.denoiser = net
        verdict = diagnose(self.subject)
        self._last = verdict.seconds
        self._spent += verdict.seconds
        scalars = {f"diagnosis_{f.check}": float(RANK[f.status] - 1) for f in verdict.findings if f.status != "not_run"}
        scalars |= {f"diagnosis_{f.check}_share": f.share for f in verdict.findings if f.status in ("warn", "fail")}
        return scalars, [f"step {step}: {verdict.headline}"]


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
        model.denoiser, rows, tokenizer=model.tokenizer, law=law_of(model.card.recipe), name="the model in training"
    )
    return QuickProbe(subject, every, budget_share)
