"""Causes before consequences, one tree for terminal, page and JSON, and the command."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import torch

from diagnosis_subjects import LENGTH, VOCAB, corpus
from unmask.cli import main
from unmask.core.errors import UsageError
from unmask.diagnosis.callback import QuickProbe
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.fault import faults
from unmask.diagnosis.finding import Finding, Plot, worst
from unmask.diagnosis.native import NativeSubject, masking_process_of
from unmask.diagnosis.subject import Subject
from unmask.diagnosis.verdict import Verdict, judge
from unmask.models.denoiser import MaskedDiffusionConfig, MaskedDiffusionModel
from unmask.models.text_model import TextModel, TextModelCard

HOSTILE = '<script>alert("x")</script> & "quotes" \' {{ 7*7 }} 🙂 $x$'


def failing(check: str, share: float, **more: Any) -> Finding:
    return Finding("fail", check=check, title=f"{check}?", fault=f"{check} is wrong.", share=share, **more)


def test_a_consequence_is_not_a_cause() -> None:
    verdict = judge([failing("safe_words", 1.0), failing("latent_use", 0.4), failing("compounding", 0.9)])
    assert [c.finding.check for c in verdict.causes] == ["latent_use"]
    assert verdict.causes[0].consequences == ("compounding", "safe_words")
    assert verdict.headline.startswith("latent_use is wrong.") and "2 other findings" in verdict.headline
    assert [f.check for f in verdict.findings] == ["latent_use", "safe_words", "compounding"]


def test_independent_causes_go_by_size() -> None:
    verdict = judge([failing("bound_calibration", 0.3), failing("order", 0.6)])
    assert [c.finding.check for c in verdict.causes] == ["order", "bound_calibration"]


def test_evidence_of_its_own_is_a_cause_whatever_else_fails() -> None:
    blind = failing("loss_by_ratio", 0.9)
    assert [c.finding.check for c in judge([blind, failing("latent_use", 0.5)]).causes] == ["loss_by_ratio"]
    deaf = failing("latent_use", 0.5, own=True, explains=("loss_by_ratio",))
    assert [c.finding.check for c in judge([blind, deaf]).causes] == ["latent_use"]


def test_not_run_is_not_a_pass() -> None:
    skipped = Finding("not_run", check="cache", why="no cache")
    assert worst([]) == "not_run" and worst(["not_run", "pass"]) == "pass"
    verdict = judge([skipped])
    assert verdict.status == "not_run" and verdict.exit_code == 1
    assert judge([Finding("warn", check="weights")]).exit_code == 0
    assert judge([failing("weights", 1.0)]).exit_code == 1


def hostile() -> Verdict:
    drawing = Plot("bars", [HOSTILE, "b"], {HOSTILE: [1.0, None]}, HOSTILE, HOSTILE)
    finding = failing("safe_words", 1.0, measured=HOSTILE, why=HOSTILE, numbers={HOSTILE: HOSTILE}, plot=drawing)
    return judge([finding, Finding("not_run", check="cache", why=HOSTILE)], subject=HOSTILE)


def test_hostile_text_is_shown_not_run() -> None:
    html = hostile().to_html()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None and unescape(policy[1]).startswith("default-src 'none'")
    assert (
        "<script" not in html
        and "&lt;script&gt;" in html
        and "49" not in re.sub(r"<svg.*?</svg>", "", html, flags=re.S)
    )
    assert not re.search(r"(src|href)=[\"']?https?:", html)
    assert "🙂" in html


def test_the_page_and_the_data_are_one_tree(tmp_path: Path) -> None:
    verdict = hostile()
    tree = json.loads(verdict.to_json())
    assert tree["findings"][0]["measured"] == HOSTILE and tree["causes"] == [{"check": "safe_words", "explains": []}]
    verdict.save(tmp_path / "v.html")
    verdict.save(tmp_path / "v.json")
    assert json.loads((tmp_path / "v.json").read_text(encoding="utf-8")) == tree
    with pytest.raises(UsageError, match="v.pdf"):
        verdict.save(tmp_path / "v.pdf")


def test_numbers_that_json_cannot_hold_are_said_in_words() -> None:
    tree = judge([failing("weights", 1.0, numbers={"a": float("nan"), "b": [1.0, float("inf")]})]).tree()
    assert tree["findings"][0]["numbers"] == {"a": "nan", "b": [1.0, "inf"]}


def test_the_terminal_shows_text_as_it_is() -> None:
    from rich.console import Console

    console = Console(width=100, record=True, file=open("/dev/null", "w"))
    console.print(judge([failing("weights", 1.0, measured="[bold]not markup[/bold] :smile:")]))
    assert "[bold]not markup[/bold] :smile:" in console.export_text()


def test_unknown_names_are_refused(sgdd: NativeSubject) -> None:
    with pytest.raises(UsageError, match="latent_use"):
        diagnose(sgdd, only=["latent_us"])
    with pytest.raises(UsageError, match="quick"):
        diagnose(sgdd, budget="quik")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="not a Subject"):
        diagnose(torch.nn.Linear(1, 1))  # type: ignore[arg-type]


def test_progress_may_be_followed(sgdd: NativeSubject) -> None:
    seen: list[str] = []
    diagnose(sgdd, only=["mask_mass", "vocabulary"], progress=seen.append)
    assert seen == ["mask_mass", "vocabulary"]


def test_a_verdict_is_reproducible(sgdd: NativeSubject) -> None:
    asked = ["loss_by_ratio", "latent_use", "safe_words"]
    one, two = (diagnose(sgdd, only=asked, seed=3) for _ in range(2))
    assert [f.numbers for f in one.findings] == [f.numbers for f in two.findings]


def test_the_law_of_a_recipe() -> None:
    law = masking_process_of({"estimator": "time", "schedule": "cosine", "tilt": "2.0", "max_steps": 5})
    assert law.estimator == "time" and law.time_power == 2.0 and masking_process_of({}).estimator == "count"


def test_the_probe_logs_findings_within_its_share(sgdd: NativeSubject) -> None:
    import copy

    probe = QuickProbe(copy.copy(sgdd), every=10, budget_share=0.02)
    # training began just now: even the first would take too much of it
    assert probe(sgdd.denoiser, 10) == ({}, [])
    probe._start -= 3600
    scalars, lines = probe(faults.make("constant_latent").inject(sgdd).denoiser, 10)  # type: ignore[attr-defined]
    assert scalars["diagnosis_latent_use"] == 2.0 and scalars["diagnosis_latent_use_share"] == 1.0
    assert scalars["diagnosis_scored_visible"] == 0.0 and "vector is ignored" in lines[0]
    assert 0 < scalars["diagnosis_share_of_time"] <= 0.02 and "% of the time went into diagnosis" in lines[0]
    assert probe(sgdd.denoiser, 15) == ({}, [])  # same turn
    probe._start += 3600
    assert probe(sgdd.denoiser, 20) == ({}, [])  # would take more than 2 % of the time


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model with its own held-out texts: a file."""
    place = tmp_path_factory.mktemp("run")
    tokenizer, _, _, texts, _ = corpus()
    (place / "texts.txt").write_text("\n".join(texts[:600]), encoding="utf-8")
    torch.manual_seed(0)
    net = MaskedDiffusionModel(
        MaskedDiffusionConfig(vocab_size=VOCAB, max_position_embeddings=LENGTH, dim=32, layers=1, heads=2)
    )
    card = TextModelCard(length=LENGTH, recipe={"data": str(place / "texts.txt"), "validation": 0.3})
    return TextModel(net.eval(), tokenizer, card).save(place / "model")


def test_the_command_ends_with_the_verdict(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, data = tmp_path / "page.html", tmp_path / "verdict.json"
    words = ["diagnose", str(folder), "--report", str(page), "--json", str(data), "--check", "loss_by_ratio"]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--check", "vocabulary"])
    tree = json.loads(data.read_text(encoding="utf-8"))
    # an untrained model knows less than counts of words
    assert stop.value.code == 1 and tree["status"] == "fail"
    assert [f["check"] for f in tree["findings"]] == ["loss_by_ratio", "vocabulary"]
    assert "masked the model knows" in capsys.readouterr().out and page.is_file()
    with pytest.raises(SystemExit) as stop:
        main(["diagnose", str(folder), "--report", str(page), "--check", "vocabulary"])
    assert stop.value.code == 0


def test_wrong_use_of_the_command_exits_2(folder: Path, tmp_path: Path) -> None:
    for words in (["--check", "nonsense"], ["--report", "a.pdf"], ["--budget", "endless"]):
        with pytest.raises(SystemExit) as stop:
            main(["diagnose", str(folder), *words])
        assert stop.value.code == 2


def test_the_walk_through_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "diagnose_your_own.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.S))
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    exec(compile(code, "diagnose_your_own.md", "exec"), space)
    assert issubclass(space["MySubject"], Subject) and (tmp_path / "my_model.html").is_file()
    assert space["verdict"].status in ("pass", "warn"), space["verdict"].headline
    assert space["broken"].causes[0].finding.check == "target_alignment"
    lines = text[text.index("class MySubject") :].split("\n\n\nverdict")[0].splitlines()
    assert len([line for line in lines if line.strip()]) <= 30
