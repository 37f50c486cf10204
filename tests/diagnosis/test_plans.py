"""A subject with a plan of its own: every plan that can be written down is judged, and none fails for what it is."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from unmask.core.errors import UsageError
from unmask.decoding.plan import DecodingPlan
from unmask.diagnosis.check import checks, run_check
from unmask.diagnosis.checks.draw_calibration import _kept
from unmask.diagnosis.context import BUDGETS, CheckContext
from unmask.diagnosis.fault import faults
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.native import NativeSubject, tried
from unmask.diagnosis.subject import Generated, Subject

PLANS: dict[str, dict[str, Any]] = {
    "ancestral": {"sampler": "ancestral"},
    "ancestral, remasking": {"sampler": "ancestral", "steps": 32, "remasking": "cap"},
    "first_hitting": {"sampler": "first_hitting"},
    "threshold": {"quota": "threshold"},
    "one": {"quota": "one", "order": "entropy"},
    "blocks": {"block_length": 6, "order": "random"},
    "blocks of one": {"block_length": 1},
    "prefix": {"cache": "prefix", "block_length": 6, "order": "random"},
    "dual, ancestral": {"cache": "dual:refresh=2", "block_length": 6, "sampler": "ancestral"},
    "top_p": {"top_p": 0.5, "order": "random"},
    "top_k": {"top_k": 5, "order": "random", "guidance": 2.0},
    "top_k=1": {"top_k": 1, "order": "random"},
    "gumbel": {"draw": "gumbel", "order": "random"},
    "argmax": {"temperature": 0.0},
    "penalty": {"repetition_penalty": 1.2, "order": "random"},
}


def under(subject: NativeSubject, **plan: Any) -> NativeSubject:
    """The same model and texts, written under a plan."""
    return NativeSubject(
        subject.denoiser, subject.held_out, subject.train, tokenizer=subject.tokenizer, plan=DecodingPlan(**plan)
    )


def found(subject: Subject, *names: str) -> dict[str, Finding]:
    context = CheckContext(subject, BUDGETS["quick"])
    return {name: run_check(checks.make(name), context) for name in names}


@pytest.mark.parametrize("name", PLANS)
def test_a_healthy_model_passes_under_any_plan(sgdd: NativeSubject, name: str) -> None:
    for check, finding in found(under(sgdd, **PLANS[name]), "order", "draw_calibration").items():
        assert finding.status == "pass", (check, finding.measured)


def test_what_means_nothing_is_skipped_and_said(sgdd: NativeSubject) -> None:
    said = {n: found(under(sgdd, **PLANS[n]), "order")["order"].measured for n in ("ancestral", "threshold", "top_k=1")}
    assert (
        "order skipped: sampler 'ancestral' does not use it" in said["ancestral"] and "3 settings" in said["ancestral"]
    )
    assert "steps skipped: quota 'threshold' decides by itself" in said["threshold"]
    assert "temperature skipped: top_k=1 leaves nothing to draw" in said["top_k=1"]
    drawn = found(under(sgdd, **PLANS["prefix"]), "draw_calibration")["draw_calibration"]
    assert "temperature skipped: a cache answers with keys that are old" in drawn.measured


@pytest.mark.parametrize("plan", [{"sampler": "ancestral"}, {"top_p": 0.5, "order": "random"}, {"quota": "threshold"}])
def test_a_planted_fault_is_caught_under_a_plan(sgdd: NativeSubject, plan: dict[str, Any]) -> None:
    for fault in ("temperature_twice", "colder_than_said"):
        subject = faults.make(fault).inject(under(sgdd, **plan))
        assert found(subject, "draw_calibration")["draw_calibration"].status == "fail", fault
    subject = faults.make("ignored_setting", name="temperature").inject(under(sgdd, **plan))
    finding = found(subject, "order")["order"]
    assert finding.status == "fail" and "temperature (1.0 and 0.5 give the same text)" in finding.measured


def test_settings_follow_the_plan() -> None:
    plain, nothing = tried(DecodingPlan())
    assert plain == {"order": ("random", "margin"), "temperature": (1.0, 0.5), "steps": (2, 8)} and not nothing
    # four blocks take a step each at least: 2 and 8 would be 4 and 8
    assert tried(DecodingPlan(block_length=6), blocks=4)[0]["steps"] == (4, 32)
    settings, skipped = tried(DecodingPlan(sampler="first_hitting"))
    assert set(settings) == {"temperature"} and set(skipped) == {"order", "steps"}
    assert set(tried(DecodingPlan(quota="threshold"))[1]) == {"steps"}


def test_logits_are_restricted_as_the_draw_was() -> None:
    logp_NV = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64).log().expand(2, -1)
    drawn_N = torch.tensor([0, 3])
    out = Generated(torch.zeros(1, 1), top_p=0.6)
    assert torch.isfinite(_kept(logp_NV, drawn_N, out)).tolist() == [
        [True, True, False, False],
        [True, True, False, True],
    ]
    # at temperature 0.5 the odds are squared: .25 of .365 is more than 0.6
    colder = _kept(logp_NV, drawn_N, replace(out, temperature=0.5))
    assert torch.isfinite(colder[0]).tolist() == [True, False, False, False]
    assert _kept(logp_NV, drawn_N, replace(out, top_p=None)) is logp_NV
    assert float(colder[0, 0]) == pytest.approx(math.log(0.5))


def test_a_cache_that_the_model_has_not_is_refused_in_its_name(sgdd: NativeSubject) -> None:
    denoiser = copy.copy(sgdd.denoiser)
    denoiser.__class__ = type("Forgetful", (type(denoiser),), {"can_cache": False})
    with pytest.raises(
        UsageError, match="cache='prefix' needs a model that remembers keys, and this Forgetful does not"
    ):
        NativeSubject(denoiser, sgdd.held_out, plan=DecodingPlan(cache="prefix", block_length=6))
