"""A verdict beside an earlier one: regressions fail, improvements are said, what cannot be compared is refused."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from oracles import JointDenoiser, toy_joint
from unmask.cli import main
from unmask.core.errors import UsageError
from unmask.diagnosis.baseline import Baseline
from unmask.diagnosis.context import BUDGETS
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.measure import Measure
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.statistics import Mean
from unmask.diagnosis.subject import Batch
from unmask.diagnosis.verdict import judge
from unmask.diagnosis.writing import Pair, WritingReport
from unmask.reporting.verdict_view import print_line


def writing(recall: float, error: float = 0.01, asked: str = "one text") -> WritingReport:
    measures = (Measure("word recall", Mean(recall, error, 32), better="higher"),)
    return WritingReport("pass", "As held-out text.", pairs=(Pair(asked, "another", {}),), measures=measures)


def finding(status: Any, check: str = "seeds") -> Finding:
    return Finding(status, check=check, measured=f"was {status}")


@pytest.fixture
def kept(tmp_path: Path) -> Baseline:
    path = tmp_path / "verdict.json"
    judge([finding("pass"), finding("fail", "order")], writing(0.5)).save(path)
    return Baseline.read(path)


def test_a_check_that_fails_now_is_a_regression(kept: Baseline) -> None:
    verdict = judge([finding("fail"), finding("fail", "order")], writing(0.5), baseline=kept)
    assert verdict.comparison is not None and verdict.status == "fail"
    assert [(c.what, c.worse) for c in verdict.comparison.changes] == [("seeds", True)]
    assert verdict.headline.startswith("Worse than the baseline: seeds.")


def test_what_is_better_is_said_and_does_not_fail(kept: Baseline) -> None:
    verdict = judge([finding("pass"), finding("warn", "order")], writing(0.9), baseline=kept)
    assert verdict.status == "warn" and verdict.headline.startswith("Better than the baseline: order, word recall.")


@pytest.mark.parametrize(("recall", "error", "status"), [(0.3, 0.01, "fail"), (0.3, 0.2, "pass"), (0.49, 0.01, "pass")])
def test_a_number_must_surely_be_worse(kept: Baseline, recall: float, error: float, status: str) -> None:
    verdict = judge([finding("pass")], writing(recall, error), baseline=kept)
    assert verdict.comparison is not None and verdict.comparison.status == status
    assert verdict.status == status


def test_what_could_not_be_run_is_no_regression(kept: Baseline) -> None:
    compared = judge([finding("not_run")], baseline=kept).comparison
    assert compared is not None and compared.changes == () and compared.unasked == ("seeds",)


def test_page_and_json_show_what_changed(kept: Baseline) -> None:
    verdict = judge([finding("fail")], writing(0.9), baseline=kept)
    assert "Beside the baseline" in verdict.to_html()
    tree = json.loads(verdict.to_json())["comparison"]
    assert [c["what"] for c in tree["changes"]] == ["seeds", "word recall"] and tree["status"] == "fail"


def test_a_line_for_each_finding_fits_and_is_not_markup() -> None:
    console = Console(record=True, width=60, file=io.StringIO())
    print_line(console, finding("fail"))
    print_line(console, replace(finding("pass"), measured="[bold]two\nlines[/bold] " + "x" * 90))
    shown = console.export_text().splitlines()
    assert len(shown) == 2 and "FAIL" in shown[0] and "was fail" in shown[0]
    assert "[bold]two lines" in shown[1] and len(shown[1]) <= 60


def test_other_texts_are_refused(kept: Baseline) -> None:
    with pytest.raises(UsageError, match="other texts"):
        judge([finding("pass")], writing(0.5, asked="another text"), baseline=kept)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not JSON"), ("[1]", "no verdict"), ('{"format": "unmask-verdict-1"}', "'unmask-verdict-1'")],
)
def test_another_format_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "old.json").write_text(text)
    with pytest.raises(UsageError, match=said):
        Baseline.read(tmp_path / "old.json")
    with pytest.raises(UsageError, match="cannot be read"):
        Baseline.read(tmp_path / "none.json")


def test_another_model_or_budget_is_refused(kept: Baseline) -> None:
    subject = exact()
    with pytest.raises(UsageError, match="of the model 'model', and this diagnosis is of 'other'"):
        kept.require("other", "quick")
    with pytest.raises(UsageError, match="of the budget 'quick'"):
        kept.require("model", "full")
    subject.name = "other"
    with pytest.raises(UsageError, match="of the model"):
        diagnose(subject, baseline=kept.place)


def exact() -> NativeSubject:
    """Rows of an exact joint, and the denoiser that knows it."""
    denoiser = JointDenoiser(toy_joint(0, vocab=4, length=4))
    noise = torch.Generator().manual_seed(1)
    rows = denoiser.support()[torch.multinomial(denoiser.joint.flatten(), 200, replacement=True, generator=noise)]
    return NativeSubject(denoiser, Batch(rows[:100]), Batch(rows[100:]))


def test_the_same_diagnosis_twice_changes_nothing(tmp_path: Path) -> None:
    small = replace(BUDGETS["quick"], rows=8, samples=8, repeats=1, ratios=(0.5, 1.0), fit=64)
    path = tmp_path / "verdict.json"
    seen: list[Finding] = []
    first = diagnose(exact(), budget=small, on_finding=seen.append)
    first.save(path)
    # what it writes comes first, then one finding a check
    assert seen[0].check == "writing" and sorted(f.check for f in seen[1:]) == sorted(f.check for f in first.findings)
    few = ["seeds", "mask_mass", "skill"]
    again = diagnose(exact(), budget=small, only=few, baseline=path)
    assert again.comparison is not None and again.comparison.changes == ()
    assert [again.finding(name).status for name in few] == [first.finding(name).status for name in few]


def test_the_command_refuses_a_baseline_before_loading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.json").write_text("{}")
    with pytest.raises(SystemExit) as stop:
        main(["diagnose", "no/such/model", "--baseline", str(tmp_path / "old.json")])
    assert stop.value.code == 2
    assert "is no verdict" in capsys.readouterr().err
