"""What values were drawn from, on an exact joint: what is told passes, and each mistake is named by its law."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from oracles import JointDenoiser, toy_joint
from unmask.core.condition import Condition
from unmask.diagnosis.check import checks, run_check
from unmask.diagnosis.context import BUDGETS, CheckContext
from unmask.diagnosis.faults._sampled import written
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.law import law_of, opened
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.subject import Batch, Generated, State, Step, Subject, Wrapped
from unmask.diagnosis.verdict import judge

BUDGET = replace(BUDGETS["quick"], samples=96)
Change = Callable[[Generated], Generated]


def toy(vocab: int = 6, length: int = 6) -> NativeSubject:
    """Rows of an exact joint, and the denoiser that knows it."""
    denoiser = JointDenoiser(toy_joint(0, vocab=vocab, length=length))
    drawn = torch.multinomial(denoiser.joint.flatten(), 3000, True, generator=torch.Generator().manual_seed(1))
    ids = denoiser.support()[drawn]
    return NativeSubject(denoiser, Batch(ids[:500]), Batch(ids[500:]))


class Planted(Wrapped):
    """A plain sampler that draws from what ``answer`` makes of the network's logits."""

    def __init__(self, inner: Subject, answer: Callable[[Tensor], Tensor], **told: Any) -> None:
        super().__init__(inner)
        self.answer, self.told, self.settings = answer, told, {}

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        def answer(x_BL: Tensor, before_BL: Tensor, at_BL: Tensor, cond: Condition | None) -> Tensor:
            return self.answer(self.inner.predict(State(x_BL, at_BL, cond)))

        return replace(written(self.inner, batch, seed, answer=answer), **self.told)


def asked(check: str, subject: Subject) -> Finding:
    return run_check(checks.make(check), CheckContext(subject, BUDGET))


@pytest.mark.parametrize("check", ["replay", "traces", "seeds", "schedule", "gap", "skill", "data", "factorisation"])
def test_an_exact_model_passes(check: str) -> None:
    finding = asked(check, toy())
    assert finding.status == "pass", finding.measured


def test_a_plain_sampler_of_ones_own_passes() -> None:
    finding = asked("replay", Planted(toy(), lambda logits: logits))
    assert finding.status == "pass" and finding.numbers["as it is used"]["values"] > 200, finding.measured


@pytest.mark.parametrize(
    ("answer", "said", "repair", "own"),
    [
        (lambda x: x.log_softmax(-1) / 0.3, "temperature 0.", "sampler.temperature", True),
        # as draws from other answers than these look, whatever made them other
        (lambda x: x.log_softmax(-1) / 3, "temperature 2", "sampler.temperature", False),
        (lambda x: x.masked_fill(x < x.topk(2).values[:, -1:], -torch.inf), "2 most probable", "sampler.law", True),
    ],
)
def test_a_law_is_named(answer: Callable[[Tensor], Tensor], said: str, repair: str, own: bool) -> None:
    finding = asked("replay", Planted(toy(), answer))
    assert finding.status == "fail" and finding.own is own
    assert said in finding.fault and finding.repair == repair


def test_what_no_law_explains_is_called_another_law() -> None:
    # the most probable id and the least probable one change places
    def swapped(logits: Tensor) -> Tensor:
        best, worst = logits.argmax(-1, keepdim=True), logits.masked_fill(logits == -torch.inf, 99).argmin(-1, True)
        other = logits.scatter(-1, best, logits.gather(-1, worst))
        return other.scatter(-1, worst, logits.gather(-1, best))

    finding = asked("replay", Planted(toy(), swapped))
    assert finding.status == "fail" and finding.fault == "Values are drawn from another law than is told."
    assert finding.repair == "sampler.law"


def test_a_cut_that_is_told_passes() -> None:
    def cut(x: Tensor) -> Tensor:
        return x.masked_fill(x < x.topk(2, dim=-1).values[:, -1:], -torch.inf)

    assert asked("replay", Planted(toy(), cut, top_k=2)).status == "pass"


def test_the_most_probable_ids_are_told_by_temperature_zero() -> None:
    def best(x: Tensor) -> Tensor:
        return x.masked_fill(x < x.amax(-1, keepdim=True), -torch.inf)

    assert asked("replay", Planted(toy(), best, temperature=0.0)).status == "pass"
    finding = asked("replay", Planted(toy(), lambda x: x, temperature=0.0))
    assert finding.status == "fail" and "at temperature" in finding.fault


def test_what_changes_the_draw_is_not_replayed() -> None:
    assert asked("replay", Planted(toy(), lambda x: x / 2, altered="a penalty")).status == "not_run"


def test_an_opened_law_is_a_law() -> None:
    law = law_of(torch.tensor([[0.5, 0.3, 0.2]]).log(), 1.0, top_k=2)
    assert law.exp().tolist()[0] == pytest.approx([0.625, 0.375, 0.0])
    assert float(opened(law).exp().sum()) == pytest.approx(1.0) and math.isfinite(float(opened(law).min()))


def one_more(out: Generated, drawn: Tensor, x_BL: Tensor) -> Generated:
    return replace(out, steps=(*(out.steps or ()), Step(x_BL, drawn)))


@pytest.mark.parametrize(("remasks", "status"), [(None, "warn"), (False, "fail"), (True, "pass")])
def test_places_may_be_written_again_if_that_is_said(remasks: bool | None, status: str) -> None:
    class Again(Wrapped):
        def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
            out = self.inner.generate(batch, seed, **settings)
            drawn = torch.zeros_like(out.ids_BL, dtype=torch.bool)
            drawn[:, 0] = True
            assert self.mask_id is not None
            return replace(one_more(out, drawn, out.ids_BL.masked_fill(drawn, self.mask_id)), remasks=remasks)

    assert asked("traces", Again(toy())).status == status


def test_a_token_that_changes_unsaid_is_seen() -> None:
    class Silent(Wrapped):
        def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
            out = self.inner.generate(batch, seed, **settings)
            ids = out.ids_BL.clone()
            ids[:, 0] = (ids[:, 0] + 1) % 4
            return replace(one_more(out, torch.zeros_like(ids, dtype=torch.bool), out.ids_BL), ids_BL=ids)

    finding = asked("traces", Silent(toy()))
    assert finding.status == "fail" and "does not draw" in finding.fault and finding.repair == "sampler.places"


def test_temperature_zero_needs_no_seed() -> None:
    finding = asked("seeds", Planted(toy(), lambda x: x, temperature=0.0))
    assert finding.status == "not_run"


class Unsteady(Wrapped):
    """Answers with noise of its own, as a network does whose dropout is on."""

    def __init__(self, inner: Subject) -> None:
        super().__init__(inner)
        self.noise = torch.Generator().manual_seed(3)

    def predict(self, state: State) -> Tensor:
        logits_NV = self.inner.predict(state)
        return logits_NV + 1.5 * torch.randn(logits_NV.shape, generator=self.noise)

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        return written(self, batch, seed, answer=lambda x, before, at, cond: self.predict(State(x, at, cond)))


def test_an_unsteady_network_is_the_cause_of_what_it_draws() -> None:
    subject = Unsteady(toy())
    subject.settings = {}
    found = [asked(check, subject) for check in ("train_inference", "replay", "draw_calibration", "skill")]
    assert found[1].status == "fail" and not found[1].own
    causes = judge(found).causes
    assert [(c.finding.check, c.finding.repair) for c in causes] == [("train_inference", "network.mode")]


class BySureness(Wrapped):
    """Writes one place at a time: the surest first, or the least sure."""

    def __init__(self, inner: Subject, sign: int) -> None:
        super().__init__(inner)
        self.sign, self.settings = sign, {"order": ("random", "margin")}

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        noise = torch.Generator().manual_seed(seed)
        x_BL, steps = torch.full_like(batch.ids_BL, self.mask_id), []
        for _ in range(x_BL.shape[1]):
            p = (
                self.inner.predict(State(x_BL, torch.ones_like(x_BL, dtype=torch.bool)))
                .softmax(-1)
                .view(*x_BL.shape, -1)
            )
            best = p.topk(2, -1).values
            score = self.sign * (best[..., 0] - best[..., 1])
            if settings.get("order", "margin") == "random":
                score = torch.rand(x_BL.shape, generator=noise)
            column = score.masked_fill(x_BL != self.mask_id, -torch.inf).argmax(1)
            drawn = torch.nn.functional.one_hot(column, x_BL.shape[1]).bool()
            steps.append(Step(x_BL.clone(), drawn))
            x_BL[drawn] = torch.multinomial(p[drawn].double(), 1, generator=noise)[:, 0]
        return Generated(x_BL, tuple(steps), 1.0)


@pytest.mark.parametrize(("sign", "status"), [(1, "pass"), (-1, "fail")])
def test_an_order_turned_round_is_named(sign: int, status: str) -> None:
    found = asked("order", BySureness(toy(), sign))
    assert found.status == status, found.measured
    assert status == "pass" or ("least sure" in found.fault and found.repair == "sampler.order")


def test_the_same_value_twice_tells_nothing_of_a_setting() -> None:
    subject = toy()
    subject.settings = {"steps": (4, 4)}
    assert "without effect" not in asked("order", subject).measured


def test_an_end_that_is_held_back_is_named() -> None:
    subject = toy()
    subject.eos_id, subject.pad_id = 1, None
    push = torch.zeros(subject.vocab_size)
    push[1] = -4.0
    found = asked("replay", Planted(subject, lambda logits: logits + push))
    assert found.status == "fail" and found.repair == "sampler.length" and "-4 nats on the end" in found.fault
    assert asked("replay", Planted(subject, lambda logits: logits)).status == "pass"


class Batchwise(Wrapped):
    """Noise that hangs on how many rows are written together, and on the seed or not."""

    def __init__(self, inner: Subject, heeds: bool) -> None:
        super().__init__(inner)
        self.heeds = heeds

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        noise = torch.Generator().manual_seed(1000 * len(batch) + (seed if self.heeds else 0))
        return Generated(torch.randint(1, 6, batch.ids_BL.shape, generator=noise), temperature=1.0)


@pytest.mark.parametrize(("heeds", "status"), [(True, "pass"), (False, "fail")])
def test_a_seed_is_judged_on_the_same_rows(heeds: bool, status: str) -> None:
    assert asked("seeds", Batchwise(toy(), heeds)).status == status
