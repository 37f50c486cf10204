"""Every planted fault is caught by its own check, named as a cause, and a healthy subject passes."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from diagnosis_subjects import make_causal
from unmask.diagnosis.check import checks
from unmask.diagnosis.context import BUDGETS
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.fault import Fault, faults
from unmask.diagnosis.law import laws
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.repair import REPAIRS
from unmask.diagnosis.subject import Subject
from unmask.diagnosis.verdict import explained_by

#: asked together with the check that must catch a fault: those that could be blamed in its place, dear ones left out
DEAR = {"order", "draw_calibration"}
PLANTED = [(name, example) for name in faults for example in faults.get(name).examples()]


SMALL = replace(BUDGETS["quick"], rows=32, repeats=3, ratios=(0.1, 0.3, 0.5, 0.9, 1.0), fit=1000)


def rivals(check: str) -> list[str]:
    """The check itself and all that could explain it."""
    return sorted({check, *(c for c in checks if check in explained_by(c) and c not in DEAR)})


def named(fault: Fault, subject: Subject) -> list[str]:
    verdict = diagnose(fault.inject(subject), budget=SMALL, only=rivals(fault.caught_by))
    assert verdict.finding(fault.caught_by).status == "fail", verdict.finding(fault.caught_by).measured
    return [cause.finding.check for cause in verdict.causes]


def test_every_check_has_a_fault() -> None:
    assert {faults.get(name).caught_by for name in faults} == set(checks)


def test_a_healthy_subject_passes(sgdd: NativeSubject) -> None:
    verdict = diagnose(sgdd)
    # trained for seconds: it is ignorant, which is said, and nothing is wrong with it
    assert {f.check for f in verdict.findings if f.status == "fail"} == {"skill"}, verdict.headline
    assert {f.check for f in verdict.findings if f.status == "warn"} <= {"latent_use"}, verdict.headline
    assert {f.check for f in verdict.findings if f.status == "not_run"} == {"cache", "record", "whole_blocks"}


def test_a_healthy_causal_subject_passes() -> None:
    verdict = diagnose(make_causal())
    assert {f.check for f in verdict.findings if f.status in ("fail", "warn")} == {"skill"}, verdict.headline
    assert verdict.finding("cache").status == "pass"


@pytest.mark.parametrize(
    ("name", "fault"),
    [p for p in PLANTED if "masked" in p[1].kinds and not p[1].trains and not p[1].needs_full],
    ids=lambda v: v if isinstance(v, str) else faults.spec_of(v),
)
def test_a_planted_fault_is_named_first(sgdd: NativeSubject, name: str, fault: Fault) -> None:
    assert named(fault, sgdd)[0] == fault.caught_by


@pytest.mark.parametrize(
    ("name", "fault"),
    [p for p in PLANTED if p[1].kinds == ("causal",)],
    ids=lambda v: v if isinstance(v, str) else faults.spec_of(v),
)
def test_a_planted_fault_of_a_causal_model_is_named_first(name: str, fault: Fault) -> None:
    assert named(fault, make_causal())[0] == fault.caught_by


@pytest.mark.parametrize("spec", [faults.spec_of(e) for n, e in PLANTED if e.trains])
def test_a_fault_of_training_is_named_first(sgdd: NativeSubject, spec: str) -> None:
    # few steps: the fault must show long before the model is good
    fault = faults.make(spec, steps=150)
    assert named(fault, sgdd)[0] == fault.caught_by


def test_every_check_says_where_to_put_it_right() -> None:
    for name in checks:
        assert checks.get(name).repair in REPAIRS, name
    for name in laws:
        assert laws.get(name).repair in REPAIRS, name


def test_the_zoo_reads_the_same_repairs() -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    try:
        contract = importlib.import_module("zoo.contract")
    finally:
        sys.path.pop(0)
    assert contract.REPAIRS is REPAIRS


def test_explanations_do_not_go_in_circles() -> None:
    circles = {(a, b) for a in checks for b in checks if a < b and b in explained_by(a) and a in explained_by(b)}
    assert not circles
    for name in checks:
        assert set(checks.get(name).leads_to) <= set(checks), name


def test_every_check_says_what_it_asks() -> None:
    for name in checks:
        check = checks.get(name)
        assert check.title.endswith("?") and check.fault.endswith("."), name
        assert check.kinds and check.needs, name
