"""What a badly writing model is short of: what more steps would bring, what a vector holds, and the cause."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from oracles import JointDenoiser, toy_joint
from unmask.diagnosis.context import BUDGETS, CheckContext
from unmask.diagnosis.diagnose import diagnose
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.learning_curve import Trend, trend
from unmask.diagnosis.ledger import LINES, Ledger, Line
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.record import record_of
from unmask.diagnosis.repair import REPAIRS
from unmask.diagnosis.shortfall import DO, SAID, with_cause
from unmask.diagnosis.statistics import Mean
from unmask.diagnosis.subject import Batch, NotProvided, Wrapped
from unmask.diagnosis.verdict import judge
from unmask.diagnosis.word_probe import ridge
from unmask.diagnosis.writing import WritingReport

BAD = WritingReport("fail", "It writes badly: it was said so.")
STEPS = [100.0 * i for i in range(1, 13)]


def power(a: float, b: float, c: float) -> list[dict[str, float]]:
    return [{"step": s, "loss_r100": a + b * (s / STEPS[-1]) ** -c} for s in STEPS]


@pytest.mark.parametrize(("a", "b", "c"), [(2.0, 1.0, 0.5), (3.0, 0.4, 1.0), (1.0, 2.0, 0.2)])
def test_ten_times_the_steps_of_a_power_law(a: float, b: float, c: float) -> None:
    found = trend(power(a, b, c))
    assert found is not None and found.figure == "loss_r100" and found.steps == 1200
    wanted = b * (1 - 10**-c)
    assert found.gain == pytest.approx(wanted, rel=0.05) and found.now == pytest.approx(a + b, rel=0.01)
    assert found.low <= found.gain <= found.high


def test_the_interval_holds_the_truth_under_noise() -> None:
    noise, inside = np.random.default_rng(0), 0
    for _ in range(40):
        points = [{**p, "loss_r100": p["loss_r100"] + 0.01 * noise.standard_normal()} for p in power(2.0, 1.0, 0.5)]
        found = trend(points)
        assert found is not None
        inside += found.low <= 1 - 10**-0.5 <= found.high
    assert inside >= 30


def test_a_flat_curve_brings_nothing() -> None:
    found = trend([{"step": s, "loss_r100": 3.0} for s in STEPS])
    assert found is not None and found.high == pytest.approx(0, abs=1e-6)


def test_a_few_points_are_no_trend() -> None:
    assert trend(power(2.0, 1.0, 0.5)[:4]) is None and trend([]) is None


def test_ridge_reads_what_a_vector_says() -> None:
    noise = np.random.default_rng(0)
    z = noise.standard_normal((200, 8))
    y = (z[:, :3] > 0).astype(float)
    score = ridge(z[:150], y[:150], z[150:])
    right = ((score > 0.5) == (y[150:] > 0.5)).mean()
    assert right > 0.85
    assert np.abs(ridge(z[:150], noise.permutation(y[:150]), z[150:]) - 0.5).mean() < 0.2


# the cause


def lines(**nats: float) -> Ledger:
    one = Mean(3.0, 0.01, 32)
    found = tuple(Line(name, "", Mean(value, 0.01, 32), f"of {name}") for name, value in nats.items())
    return Ledger(found, one, one, one)


class Toy(Wrapped):
    """An exact joint's subject with a training curve."""

    def __init__(self, curve: Any = None) -> None:
        denoiser = JointDenoiser(toy_joint(0, vocab=3, length=4))
        ids = denoiser.support()
        super().__init__(NativeSubject(denoiser, Batch(ids[:40]), Batch(ids[40:])))
        self.curve = curve

    def record(self) -> Any:
        if self.curve is None:
            raise NotProvided("a record")
        return record_of(self.inner, "training", curve=self.curve, rows=4)


def cause(account: Ledger, curve: Any = None) -> Finding:
    found = with_cause(account, CheckContext(Toy(curve), BUDGETS["quick"]), BAD).cause
    assert found is not None and found.status == "fail"
    return found


@pytest.mark.parametrize("name", SAID)
def test_the_largest_line_is_the_cause(name: str) -> None:
    found = cause(lines(**{"learned": 0.1, name: 0.5}))
    assert found.repair == f"of {name}" and found.fault == SAID[name][0] and found.next_step


def test_a_loss_that_still_fell_asks_for_steps() -> None:
    found = cause(lines(learned=0.5, held_out=0.0), power(2.0, 1.0, 0.5))
    assert found.repair == "training.steps" and "10 times its 1,200 steps would bring 0.7" in found.measured


def test_a_flat_loss_asks_for_a_larger_network() -> None:
    found = cause(lines(learned=0.5, held_out=0.0), [{"step": s, "loss_r100": 3.0} for s in STEPS])
    assert found.repair == "training.capacity"


def test_known_training_text_asks_for_data() -> None:
    found = cause(lines(learned=0.5, held_out=0.4), [{"step": s, "loss_r100": 3.0} for s in STEPS])
    assert found.repair == "training.data"


def test_without_a_record_it_cannot_be_told() -> None:
    found = cause(lines(learned=0.5, held_out=0.0))
    assert found.repair == "" and "cannot be told" in found.fault and "not recorded" in found.measured


def test_no_line_at_all_cannot_be_told() -> None:
    found = cause(lines(learned=-0.5))
    assert found.repair == "" and "cannot be told" in found.fault


def test_good_writing_has_no_cause() -> None:
    wrote = replace(BAD, status="warn")
    assert with_cause(lines(law=0.5), CheckContext(Toy(), BUDGETS["quick"]), wrote).cause is None


def test_the_verdict_names_it_where_no_check_fails() -> None:
    account = with_cause(lines(law=0.5), CheckContext(Toy(), BUDGETS["quick"]), BAD)
    sound = Finding("pass", check="mask_mass")
    found = judge([sound], BAD, account)
    assert found.causes[0].finding == account.cause and found.status == "fail" and found.wiring == "pass"
    assert SAID["law"][0] in found.headline and found.tree()["causes"][0]["check"] == "ledger"
    broken = judge([Finding("fail", check="mask_mass", fault="It is broken.")], BAD, account)
    assert [c.finding.check for c in broken.causes] == ["mask_mass"]


def test_every_repair_is_a_place() -> None:
    assert {repair for _, repair in LINES.values()} | set(DO) <= {"", *REPAIRS}


def test_the_page_and_the_terminal_show_the_ledger() -> None:
    small = replace(BUDGETS["quick"], rows=8, samples=8, fit=40, rollout_steps=4)
    found = diagnose(Toy(), budget=small)
    assert found.ledger is not None and not found.ledger.why
    page = found.to_html()
    assert "Where the nats go" in page and "Waterfall of the ledger" in page and "unexplained" in page
    console = Console(file=StringIO(), width=160)
    console.print(found)
    assert "Where the nats go" in console.file.getvalue()  # type: ignore[attr-defined]
    tree = found.tree()["ledger"]
    assert {line["name"] for line in tree["lines"]} >= {"learned", "steps", "unexplained"}
    assert tree["total"]["value"] == pytest.approx(sum(line["nats"]["value"] for line in tree["lines"]))


def test_a_trend_is_said_with_its_interval() -> None:
    assert str(Trend("loss", 10, 2.0, 0.5, 0.25, 0.75)) == "0.50 [0.25, 0.75]"
