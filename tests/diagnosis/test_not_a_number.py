"""NaN and infinity never pass, whoever measured them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unmask.diagnosis.check import Check, checks, run_check
from unmask.diagnosis.context import BUDGETS, CheckContext
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.finding import Finding, Plot, sound
from unmask.diagnosis.subject import Batch, State, Subject
from unmask.diagnosis.verdict import judge
from unmask.reporting.verdict import page

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("finding", "odd"),
    [
        (Finding("pass", numbers={"own_nats": NAN}), "own_nats: nan"),
        (Finding("pass", numbers={"a": 1.0, "deep": {"list": [0.5, (INF,)]}}), "list: inf"),
        (Finding("pass", measured="tokens cost +nan nats a token"), "measured: +nan"),
        (Finding("pass", measured="-inf of 3"), "measured: -inf"),
        (Finding("pass", measured="NaN"), "measured: NaN"),
        (Finding("pass", share=NAN), "share: nan"),
    ],
)
def test_sound_warns_where_a_pass_rests_on_no_number(finding: Finding, odd: str) -> None:
    found = sound(finding)
    assert found.status == "warn" and odd in found.why and found.next_step
    assert judge([finding]).status == "warn" and judge([finding]).findings[0].status == "warn"


@pytest.mark.parametrize(
    "finding",
    [
        Finding(
            "pass", measured="finance, nano, 1.5 information, infinite jest", numbers={"a": 1.0, "b": "nan", "c": None}
        ),
        Finding("fail", numbers={"a": NAN}, measured="nan"),
        Finding("warn", numbers={"a": INF}),
        Finding("not_run", numbers={"a": NAN}),
    ],
)
def test_sound_leaves_the_others_alone(finding: Finding) -> None:
    assert sound(finding) is finding


class Tiny(Subject):
    """Three words and a mask; ``rows`` are its data."""

    name, vocab_size, mask_id, pad_id, eos_id = "tiny", 5, 4, None, None

    def __init__(self, rows: list[list[int]]) -> None:
        self.rows = torch.tensor(rows)

    def data(self, n: int, split: Any = "held_out") -> Batch:
        return Batch(self.rows[:n])

    def predict(self, state: State) -> torch.Tensor:
        return torch.zeros(int(state.at_BL.sum()), 5)


def test_a_check_that_measures_nan_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    class Careless(Check):
        title, fault, needs = "Is it?", "It is not.", ("data",)

        def run(self, context: CheckContext) -> Finding:
            lost = float(torch.tensor([]).mean())
            return Finding("fail" if lost > 0.5 else "pass", measured=f"{lost:+.3f} nats", numbers={"lost": lost})

    monkeypatch.setattr(checks, "name_of", lambda check: "careless")
    found = run_check(Careless(), CheckContext(Tiny([[0, 1], [1, 2]]), BUDGETS["quick"]))
    assert found.status == "warn" and found.measured == "+nan nats" and "no answer" in found.why


def test_masks_in_a_subjects_data_are_the_datas_fault() -> None:
    verdict = diagnose(Tiny([[0, 1, 2], [0, 4, 2]]), only=["batch_invariance", "mask_mass"])
    for finding in verdict.findings:
        assert finding.status in ("fail", "not_run")
        if finding.status == "fail":
            assert "data returned 1 of 2 rows with the mask id in them" in finding.measured
    assert verdict.status == "fail"


def test_a_plot_leaves_out_what_is_no_number(recwarn: pytest.WarningsRecorder) -> None:
    plot = Plot("lines", [1.0, 2.0, 3.0], {"a": [1.0, NAN, INF], "b": [None, 2.0, 3.0]}, "x", "y")
    bars = Plot("bars", ["u", "v"], {"a": [NAN, 1.0]}, "x", "y")
    html = page(judge([Finding("pass", "one", "One?", plot=plot), Finding("pass", "two", "Two?", plot=bars)]))
    assert html.count("<svg") >= 2
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]
