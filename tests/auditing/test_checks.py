"""Each planted fault fails its question; the plain sampler and our own plans pass."""

import pytest
from samplers import faulty, sample

from unmask.auditing.check import Bench, audit_checks
from unmask.auditing.foreign import Foreign, signatures
from unmask.auditing.laws.chain import Chain
from unmask.auditing.subject import Plan
from unmask.decoding.plan import DecodingPlan
from unmask.diagnosis.check import checks, run_check
from unmask.diagnosis.context import BUDGETS


def law():
    return Chain(vocab=12, length=12)


def foreign(sampler):
    return Bench(lambda on: Foreign(on, sampler, signatures.make("canvas")), law(), BUDGETS["quick"])


def asked(bench, *names):
    return {
        n: run_check(audit_checks.make(n) if n in audit_checks.names() else checks.make(n), bench).status for n in names
    }


def test_a_plain_sampler_passes():
    names = ("one_at_a_time", "prompts", "alone", "forwards", "ties", "traces", "replay", "seeds")
    found = asked(foreign(sample), *names)
    assert found.pop("alone") in ("pass", "not_run")
    assert set(found.values()) == {"pass"}


FAULTS = {
    "values keep their own order": ({"keep_drawn": True}, "one_at_a_time"),
    "another temperature": ({"heat": 0.7}, "one_at_a_time"),
    "logits one step old": ({"stale": True}, "replay"),
    "stops early": ({"stop": 2}, "traces"),
    "the prompt is written over": ({"touch": True}, "prompts"),
    "a quota of the batch": ({"quota": "batch", "ties": "left"}, "alone"),
    "ties fall to the left": ({"ties": "left"}, "ties"),
    "two forwards a step": ({"extra": 1}, "forwards"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault):
    settings, name = FAULTS[fault]
    assert asked(foreign(faulty(**settings)), name)[name] in ("fail", "warn")


@pytest.mark.parametrize("plan", [DecodingPlan(order="random"), DecodingPlan(order="margin", steps=6)], ids=str)
def test_our_plans_pass(plan):
    bench = Bench(lambda on: Plan(on, plan), law(), BUDGETS["quick"])
    found = asked(bench, "one_at_a_time", "prompts", "alone", "forwards", "ties")
    assert set(found.values()) == {"pass"}


def test_an_order_by_drawn_values_is_no_fair_draw():
    bench = Bench(lambda on: Plan(on, DecodingPlan(order="drawn_prob")), law(), BUDGETS["quick"])
    found = run_check(audit_checks.make("one_at_a_time"), bench)
    assert found.status == "fail" and "too likely" in found.fault


def test_few_forwards_cost_what_the_chain_says():
    bench = Bench(lambda on: Plan(on, DecodingPlan(order="random")), law(), BUDGETS["quick"])
    found = run_check(audit_checks.make("budget"), bench)
    rows = {row["forwards"]: row for row in found.numbers["budgets"]}
    assert found.status == "pass" and rows[4]["price_nats"] < 1e-9 < rows[3]["price_nats"]
    assert rows[1]["own"] > rows[4]["own"] > rows[12]["own"]
