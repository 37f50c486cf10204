"""One ingredient made ideal, and the plan that was tried: on joints where it is known what helps."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from oracles import JointDenoiser
from unmask.core.errors import UsageError
from unmask.core.sampling_config import SamplingConfig
from unmask.decoding.plan import DecodingPlan
from unmask.diagnosis.context import BUDGETS, CheckContext
from unmask.diagnosis.diagnose import what_helps
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.prescription import Prescription, prescription, writable
from unmask.diagnosis.replacement import Replacement, replacements
from unmask.diagnosis.statistics import Mean
from unmask.diagnosis.subject import Batch, Generated, Wrapped
from unmask.diagnosis.symptom import symptoms
from unmask.diagnosis.verdict import judge
from unmask.diagnosis.writing import WritingReport

L = 4
SMALL = replace(BUDGETS["full"], rows=24, samples=24, fit=64, ratios=(0.25, 0.5, 0.75, 1.0), rollout_steps=4)


def turns(plan: DecodingPlan | None = None) -> NativeSubject:
    """Texts that run through the ids: 0 1 2 3, 1 2 3 0, ... One token tells all others; blind ones disagree."""
    ids = (torch.arange(4)[:, None] + torch.arange(L)) % 4
    joint = torch.full([4] * L, 1e-9, dtype=torch.float64)
    for row in ids.tolist():
        joint[tuple(row)] = 1.0
    return NativeSubject(JointDenoiser(joint), Batch(ids.repeat(12, 1)), Batch(ids.repeat(16, 1)), plan=plan)


def at_once() -> DecodingPlan:
    return DecodingPlan(order="random", quota="linear", steps=1)


def by(found: tuple[Replacement, ...], ingredient: str, symptom: str = "judge") -> Replacement:
    return next(x for x in found if x.ingredient == ingredient and x.symptom.startswith(symptom))


def test_one_token_a_step_takes_all_of_it_away() -> None:
    found = replacements(CheckContext(turns(at_once()), SMALL))
    helped = by(found, "one token a step")
    assert helped.before.value > helped.after.value and helped.gone.value == pytest.approx(1, abs=0.05)
    assert helped.change.surely_below < 0
    # the order does not matter where everything is written at once
    assert by(found, "order random").gone.value == pytest.approx(0, abs=1e-9)


def test_a_true_first_half_tells_the_rest() -> None:
    found = replacements(CheckContext(turns(at_once()), SMALL))
    assert by(found, "the true first half").gone.value == pytest.approx(1, abs=0.05)


def test_good_writing_has_nothing_to_replace() -> None:
    plan = DecodingPlan(order="random", quota="linear", steps=L)
    assert replacements(CheckContext(turns(plan), SMALL)) == ()


def test_symptoms_of_the_reference_are_none() -> None:
    context = CheckContext(turns(), SMALL)
    assert all(s.mean.value == pytest.approx(s.ideal) for s in symptoms(context, context.prompts.ids_BL))


class Repeats(Wrapped):
    """Writes well at temperature 1, and one word again and again at its own temperature."""

    settings = {"temperature": (1.0, 0.5)}

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        if settings.get("temperature") == 1.0:
            return Generated(batch.ids_BL.clone())
        return Generated(torch.zeros_like(batch.ids_BL), temperature=0.0)


class Bare(Wrapped):
    """A subject that tells nothing but what it writes."""

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        if settings:
            raise ValueError("no settings")
        return Generated(self.texts(batch))

    def texts(self, batch: Batch) -> Tensor:
        return torch.zeros_like(batch.ids_BL)


def tempered() -> Repeats:
    subject = Repeats(turns())
    subject.settings = {"temperature": (1.0, 0.5)}
    return subject


def test_the_plan_that_helps_is_prescribed() -> None:
    found = prescription(CheckContext(tempered(), SMALL), "runs/mine")
    assert found is not None and found.better and found.settings == {"temperature": 1.0} and found.tried == 3
    assert found.command == "unmask sample runs/mine --temperature 1"
    assert found.after["repeated pairs of tokens"].value < found.before["repeated pairs of tokens"].value


def test_no_better_plan_is_said() -> None:
    plan = DecodingPlan(order="random", quota="linear", steps=L)
    found = prescription(CheckContext(turns(plan), SMALL), "m")
    assert found is not None and not found.better


def test_settings_that_are_refused_are_no_plan() -> None:
    subject = Bare(turns())
    subject.settings = {"temperature": (1.0, 0.5)}
    assert prescription(CheckContext(subject, SMALL), "m") is None
    subject.settings = {}
    assert prescription(CheckContext(subject, SMALL), "m") is None


def test_only_the_full_budget_tries() -> None:
    bad, good = WritingReport("fail", "It writes badly."), WritingReport("pass", "It writes well.")
    context = CheckContext(tempered(), SMALL)
    quick = CheckContext(tempered(), replace(SMALL, name="quick"))
    assert [what_helps(*pair) for pair in ((quick, bad), (context, good), (context, None))] == [((), None)] * 3
    found, plan = what_helps(context, bad)
    verdict = judge([], bad, replacements=found, prescription=plan)
    page, tree = verdict.to_html(), verdict.tree()
    assert "unmask sample" in page and "What goes when one ingredient is ideal" in page
    assert tree["prescription"]["settings"] == {"temperature": 1.0} and tree["replacements"]


# keeping it


def plan_of(better: bool = True) -> Prescription:
    gain = Mean(-1.0, 0.01, 32)
    return Prescription({"temperature": 0.7, "steps": 24}, "unmask sample m", gain, {}, {}, 6, better)


def test_a_plan_is_kept_on_top_of_the_models_own(tmp_path: Path) -> None:
    SamplingConfig.of({"order": "random"}).save(tmp_path)
    plan_of().save(tmp_path)
    kept = SamplingConfig.load(tmp_path)
    assert (kept.order, kept.temperature, kept.steps) == ("random", 0.7, 24)


def test_where_a_plan_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="none to keep"):
        plan_of(better=False).save(tmp_path)
    with pytest.raises(UsageError, match="save the model first"):
        writable("owner/model")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "snap").mkdir(parents=True)
    with pytest.raises(UsageError, match="hub's cache"):
        writable(tmp_path / "cache" / "snap")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="cannot be written in"):
        writable(tmp_path)
