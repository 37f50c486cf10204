"""What the zoo counts, and that its faults say what they have to."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from unmask.core.condition import Condition
from unmask.diagnosis.fault import faults as planted_faults
from unmask.diagnosis.statistics import Mean
from unmask.diagnosis.subject import State, Subject

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def on_path() -> Iterator[None]:
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("UNMASK_ZOO", str(tmp_path))
    from zoo.own.by_hand import by_hand
    from zoo.own.kept import Recipe

    return by_hand(True, Recipe(steps=2, dim=16))


def line(fault: str, *causes: str, repairs: tuple[str, ...] = ("report",), **more: Any) -> dict[str, Any]:
    about = {"key": fault or "healthy", "subject": "s", "control": "", "kind": "k" if fault else "healthy"}
    told = {"fault": fault, "repairs": list(repairs), "causes": [["check", c] for c in causes], "headline": "It says."}
    return about | told | {"status": "fail" if causes else "pass"} | more


def test_a_fault_is_named_by_its_repair() -> None:
    from zoo.run import outcome

    assert outcome(line("f", "report", "tokenizer")) == "first"
    assert outcome(line("f", "tokenizer", "report")) == "top 3"
    assert outcome(line("f", "tokenizer")) == "wrong"
    assert outcome(line("f")) == "missed" and outcome(line("f", status="fail")) == "unnamed"
    pair = ("report", "tokenizer")
    assert outcome(line("f", "tokenizer", "sampler.law", "report", repairs=pair)) == "first"
    assert outcome(line("f", "tokenizer", repairs=pair)) == "top 3"
    assert outcome(line("", status="fail")) == "alarm" and outcome(line("", status="warn")) == "warn"


def test_shares_are_of_faults_that_harm() -> None:
    from zoo.run import summary

    lines = [
        line("a", "report", harms=True),
        line("b", harms=True),
        line("c", harms=True, error="Traceback"),
        line("d", harms=False),
        line("e", cannot="it has none"),
        line("f", "report", "tokenizer", repairs=("report", "tokenizer"), harms=True),
        line("", status="warn"),
        line("", status="fail", wiring="warn"),
        line("", "report", error="Traceback"),
    ]
    found = summary(lines)
    assert (found["planted"], found["that_harm"], found["pairs"]) == (5, 4, 1)
    assert found["named_first"] == pytest.approx(1 / 3, abs=1e-4) and found["missed"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["both_of_a_pair"] == 1.0
    assert (found["healthy"], found["false_alarms"], found["of_these_for_writing_alone"]) == (3, 2, 1)


def test_a_page_gets_the_figures_of_its_zoo(tmp_path: Path) -> None:
    from unmask.core.errors import UsageError
    from zoo.run import fill

    page = tmp_path / "page.md"
    page.write_text("one\n<!-- zoo own -->\nold\n<!-- end of zoo own -->\ntwo\n", encoding="utf-8")
    fill(page, "zoo own", [line("a", "report", harms=True), line("")])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("one\n") and text.endswith("two\n") and "old" not in text
    assert "**100.0% are named first**" in text and "**0 false alarms**" in text
    with pytest.raises(UsageError, match="zoo held out"):
        fill(page, "zoo held out", [])


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_zoo_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    from zoo import run as zoo
    from zoo.contract import ZooFault, ZooSubject
    from zoo.harm import Harm

    verdict = SimpleNamespace(status="pass", headline="Nothing.", writing=None, wiring="pass", causes=[], findings=[])
    monkeypatch.setattr(zoo, "diagnose", lambda subject, budget: verdict)
    monkeypatch.setattr(zoo, "harm", lambda one, other: Harm(Mean(1.0, 0.1, 9), Mean(0.0, 0.1, 9), 0.0))
    subjects = [ZooSubject("one", frozenset({"masked"}), Subject), ZooSubject("two", frozenset(), Subject, "odd")]
    fault = ZooFault("late", "k", "report", lambda s, f: s, frozenset({"masked"}), graded=True)
    file = tmp_path / "results.jsonl"
    file.write_text(json.dumps(line("") | {"key": "one / healthy / 1 / quick"}) + "\n", encoding="utf-8")
    zoo.run(subjects, [fault], tmp_path, jobs=jobs)
    lines = zoo.read(file)
    keys = sorted(x["key"] for x in lines)
    done = ["one / healthy / 1", "one / late / 0.5", "one / late / 1", "two / healthy / 1"]
    assert keys == [f"{key} / quick" for key in done]
    assert [x["headline"] for x in lines if x["subject"] == "s"] == ["It says."]  # done before, and left
    assert all(x["harm"] == 1.0 for x in lines if x["fault"])


def test_an_error_of_a_healthy_subject_is_an_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    from unmask.core.errors import UsageError
    from zoo import run as zoo
    from zoo.contract import ZooSubject

    def cannot() -> Subject:
        raise UsageError("no data")

    zoo._zoo.update({"one": ZooSubject("one", frozenset(), cannot)}, {})
    found = zoo.examine(zoo.Cell("one"))
    assert found["error"] == "no data" and zoo.summary([found])["false_alarms"] == 1


def test_names_in_the_own_zoo_are_unique() -> None:
    from zoo import own

    faults, subjects = own.faults(), own.subjects()
    assert len({f.name for f in faults}) == len(faults) and len({s.name for s in subjects}) == len(subjects)
    assert sum(bool(s.control) for s in subjects) >= 20
    # a fault that fits no subject would never be planted
    assert all(any(f.needs <= s.has for s in subjects if not s.control) for f in faults)


def test_every_planted_fault_has_a_repair() -> None:
    from zoo.own.known import REPAIR

    assert set(planted_faults) == {name.split(":")[0] for name in REPAIR}


def test_a_plain_loop_writes_what_it_says(hand: Any) -> None:
    from zoo.own.loop import Loop

    batch = hand.data(3)
    out = Loop(hand, steps=5).generate(batch, 0)
    assert out.steps is not None and len(out.steps) == 5
    assert (sum(step.drawn_BL.long() for step in out.steps) == 1).all()  # every place once
    assert not (out.ids_BL == hand.mask_id).any()
    again, other = (Loop(hand, steps=5).generate(batch, seed).ids_BL for seed in (0, 1))
    assert torch.equal(out.ids_BL, again) and not torch.equal(out.ids_BL, other)


def test_what_is_loaded_changes_every_path(hand: Any) -> None:
    from zoo.own.loaded import faults

    fault = next(f for f in faults() if f.name == "feed_forward_lost")
    planted = fault.plant(hand, 1.0)
    batch = hand.data(2)
    state = State(batch.ids_BL, torch.ones_like(batch.ids_BL, dtype=torch.bool), batch.cond)
    assert not torch.equal(planted.predict(state), hand.predict(state))
    assert planted.training_view(batch, 0).loss != hand.training_view(batch, 0).loss
    assert planted.record() is hand.record()  # training's, from before


def test_vectors_come_one_row_late_on_every_path(hand: Any) -> None:
    from zoo.own.sampling import OtherRows

    was, now = hand.data(4), OtherRows(hand, 1.0).data(4)
    assert isinstance(now.cond, Condition) and torch.equal(now.cond.latent_BZ[1:], was.cond.latent_BZ[:-1])
    assert torch.equal(now.ids_BL, was.ids_BL)


def test_a_word_table_never_looks_at_its_input(hand: Any) -> None:
    from zoo.own.trained import word_counts

    table, batch = word_counts(hand, 1.0), hand.data(2)
    at_BL = torch.ones_like(batch.ids_BL, dtype=torch.bool)
    hidden_BL = torch.full_like(batch.ids_BL, hand.mask_id)
    assert torch.equal(table.predict(State(batch.ids_BL, at_BL)), table.predict(State(hidden_BL, at_BL)))
    assert float(table.predict(State(hidden_BL, at_BL)).logsumexp(-1).abs().max()) < 1e-4


def test_half_of_the_held_out_rows_stand_in_training() -> None:
    from zoo.own.by_hand import _batch
    from zoo.own.kept import Recipe

    held = set(_batch(Recipe(), "held_out", False).texts or ())
    leaked = set(_batch(Recipe(leaked=0.5), "train", False).texts or ())
    clean = set(_batch(Recipe(), "train", False).texts or ())
    assert not held & clean and 0.4 < len(held & leaked) / len(held) < 0.6
