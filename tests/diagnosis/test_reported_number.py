"""The number that is watched: what its weights may hang on, and what a mean that claims no bound must be."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from unmask.diagnosis.check import checks, run_check
from unmask.diagnosis.context import BUDGETS, CheckContext
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.subject import Batch, Split, State, Subject, TrainingView

V, L, PAD, EOS, MASK = 12, 16, 0, 1, 2


class Weighted(Subject):
    """Rows of different lengths, a fixed table of answers, and a loss whose weights ``how`` makes of the mean's."""

    name, kind, vocab_size, mask_id, pad_id, eos_id = "weighted", "masked", V, MASK, PAD, EOS

    def __init__(self, how: str, bound: bool = False) -> None:
        self.how, self.bound = how, bound

    def data(self, n: int, split: Split = "held_out") -> Batch:
        noise = torch.Generator().manual_seed(0 if split == "train" else 1)
        ids = torch.randint(3, V, (200, L), generator=noise)
        end = torch.randint(3, L, (200, 1), generator=noise)
        place = torch.arange(L)
        return Batch(torch.where(place < end, ids, torch.where(place == end, EOS, PAD))[:n])

    def predict(self, state: State) -> torch.Tensor:
        return torch.linspace(0, 3, V).repeat(int(state.at_BL.sum()), 1)

    def training_view(self, batch: Batch, seed: int) -> TrainingView:
        noise = torch.Generator().manual_seed(seed)
        inside = batch.ids_BL != PAD
        masked = (torch.rand(batch.ids_BL.shape, generator=noise) < 0.5) & inside
        masked[:, 0] = True
        logp = self.predict(State(batch.ids_BL, masked)).log_softmax(-1)
        ce = -logp.gather(1, batch.targets[masked][:, None])[:, 0].double()
        row = masked.nonzero()[:, 0]
        weight: Any = torch.full_like(ce, 1 / len(ce))
        if self.how == "rows":
            weight = 1 / torch.bincount(row)[row].double() / len(batch)
        elif self.how == "hardest left out":
            weight = weight * (ce <= ce.quantile(0.8))
            weight = weight / weight.sum()
        elif self.how == "by ratio":  # another weight for each row, whatever its tokens cost
            share = torch.rand(len(batch), generator=noise).double()[row]
            weight = share / share.sum()
        elif self.how != "mean":
            weight = weight * {"bits": 1 / math.log(2), "a text": len(ce) / len(batch)}[self.how]
        loss = float((weight * ce).sum())
        return TrainingView(batch.ids_BL.masked_fill(masked, MASK), masked, ce, loss, weight, self.bound)


def asked(check: str, how: str, **more: Any) -> Finding:
    return run_check(checks.make(check), CheckContext(Weighted(how, **more), BUDGETS["quick"]))


@pytest.mark.parametrize("how", ["mean", "a text", "by ratio"])
@pytest.mark.parametrize("check", ["bound_calibration", "evenly"])
def test_a_mean_of_ones_own_passes(check: str, how: str) -> None:
    found = asked(check, how)
    assert found.status == "pass", found.measured


@pytest.mark.parametrize(
    ("check", "how"),
    [("bound_calibration", "bits"), ("evenly", "hardest left out"), ("bylength", "rows")],
)
def test_a_wrong_number_is_the_reports_fault(check: str, how: str) -> None:
    found = asked(check, how)
    assert found.status == "fail" and found.repair == "report" and found.own, found.measured


def test_a_factor_is_said() -> None:
    found = asked("bound_calibration", "bits")
    assert "1.443 times the mean" in found.measured and found.share == pytest.approx(1 - math.log(2), abs=1e-3)


def test_a_number_that_its_weights_do_not_make_fails() -> None:
    subject = Weighted("mean")
    view = subject.training_view

    def other(batch: Batch, seed: int) -> TrainingView:
        found = view(batch, seed)
        return replace(found, loss=found.loss * 1.01)

    subject.training_view = other  # type: ignore[method-assign]
    found = run_check(checks.make("bound_calibration"), CheckContext(subject, BUDGETS["quick"]))
    assert found.status == "fail" and "weights' sum" in found.measured
