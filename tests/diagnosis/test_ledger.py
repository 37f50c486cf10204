"""The ledger on joints whose every line has a closed form: all tokens of a text are the same one."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from oracles import JointDenoiser
from unmask.core.condition import Condition
from unmask.core.denoiser import Body
from unmask.decoding.plan import DecodingPlan
from unmask.diagnosis.context import BUDGETS, CheckContext
from unmask.diagnosis.estimate import Estimate
from unmask.diagnosis.ledger import Ledger, ledger
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.record import Record, record_of
from unmask.diagnosis.staircase import LossCurve, best, divided
from unmask.diagnosis.statistics import mean_by_text
from unmask.diagnosis.subject import Batch, Generated, State, Step, Subject, Wrapped
from unmask.diagnosis.visits import divergence

L, P = 4, (0.75, 0.25)
QUARTERS = replace(BUDGETS["quick"], rows=32, samples=32, ratios=(0.25, 0.5, 0.75, 1.0))
ROWS = torch.tensor([0, 1, 0, 0] * 12)
#: mean nats of the first token of a text, over the rows; the others follow from it
FIRST = -sum(math.log(P[i]) for i in ROWS[:32].tolist()) / 32


class Same(JointDenoiser):
    """All tokens of a text are the same; a vector, where there is one, says which."""

    def __init__(self, kinds: int = 2, conditional: bool = False) -> None:
        joint = torch.full([kinds] * L, 1e-12, dtype=torch.float64)  # what a blind step writes can be asked about
        for i, p in enumerate(P):
            joint[(i,) * L] = p
        super().__init__(joint)
        self.conditional = conditional

    def body(self, x_BL: Tensor, cond: Condition | None = None, t_B: Tensor | None = None, **more: Any) -> Body:
        if cond is None:
            return super().body(x_BL, cond, t_B, **more)
        told_BV = torch.nn.functional.pad(cond.latent_BZ.double(), (0, self.vocab_size - cond.latent_BZ.shape[1]))
        sure_BLV = told_BV[:, None].expand(-1, L, -1)
        return Body(torch.where(cond.present_B[:, None, None], sure_BLV, self.marginals(x_BL)).log())


def texts(kind_N: Tensor) -> Tensor:
    return kind_N[:, None].expand(-1, L).clone()


def same(plan: DecodingPlan | None = None, train: Tensor = ROWS, kinds: int = 2) -> NativeSubject:
    return NativeSubject(Same(kinds), Batch(texts(ROWS)), Batch(texts(train)), plan=plan)


def account(subject: Subject) -> Ledger:
    found = ledger(CheckContext(subject, QUARTERS))
    assert not found.why and found.total is not None, found.why
    assert sum(line.nats.value for line in found.lines) == pytest.approx(found.total.value)
    return found


def nats(found: Ledger) -> dict[str, float]:
    return {line.name: line.nats.value for line in found.lines}


def near(value: float) -> Any:
    return pytest.approx(value, abs=1e-6)


def plan(steps: int, **more: Any) -> DecodingPlan:
    return DecodingPlan(order="random", quota="linear", steps=steps, **more)


def test_one_token_a_step_costs_nothing() -> None:
    found = account(same(plan(L)))
    lines = nats(found)
    free = ("inference", "steps", "division", "order", "law", "compounding", "held_out", "unexplained")
    assert [lines[name] for name in free] == near([0.0] * len(free))
    assert found.reference is not None and found.reference.value == near(FIRST / L)
    assert found.largest is None and "not recorded" in found.left_out["recorded"]


@pytest.mark.parametrize(("steps", "fewer", "divided_badly"), [(2, 0.0, 1.0), (1, 3.0, 0.0)])
def test_schedule_lines(steps: int, fewer: float, divided_badly: float) -> None:
    """Two and two: the second of the first step pays as the first did. One and three would cost nothing more."""
    found = account(same(plan(steps)))
    lines = nats(found)
    assert lines["steps"] == near(fewer * FIRST / L) and lines["division"] == near(divided_badly * FIRST / L)
    assert lines["unexplained"] == near(0) and lines["order"] == near(0)
    assert found.largest is not None and found.largest.repair == "sampler.schedule"


def test_temperature_is_a_divergence() -> None:
    lines = nats(account(same(plan(L, temperature=0.5))))
    # the first token's law is squared, the others' are certain
    cold = [p**2 / sum(q**2 for q in P) for p in P]
    assert lines["law"] == near(sum(c * math.log(c / p) for c, p in zip(cold, P, strict=True)) / L)


def test_argmax_is_the_nats_of_the_best() -> None:
    found = account(same(plan(L, temperature=0.0)))
    assert nats(found)["law"] == near(-math.log(P[0]) / L) and nats(found)["draw"] == near(0)
    assert found.largest is not None and found.largest.repair == "sampler.temperature"


def test_a_colder_draw_than_told_shows() -> None:
    class Colder(Wrapped):
        def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
            return replace(self.inner.generate(batch, seed, temperature=0.0), temperature=1.0)

    lines = nats(account(Colder(same(plan(L)))))
    entropy = -sum(p * math.log(p) for p in P)
    assert lines["draw"] == near((-math.log(P[0]) - entropy) / L) and lines["law"] == near(0)


def test_training_rows_of_another_kind() -> None:
    """All training texts are the likelier ones."""
    found = account(same(plan(L), train=torch.zeros(40, dtype=torch.long)))
    assert nats(found)["held_out"] == near((FIRST + math.log(P[0])) / L)


def test_what_a_vector_tells() -> None:
    hot = torch.eye(2)[ROWS]
    subject = NativeSubject(
        Same(conditional=True), Batch(texts(ROWS), Condition.of(hot)), Batch(texts(ROWS), Condition.of(hot))
    )
    found = account(subject)
    assert nats(found)["vector"] == near(-FIRST / L)
    assert found.line("vector").cost.value == near(0) and found.reference is not None
    assert found.reference.value == near(0)


class Shifted(Wrapped):
    """Inference that gives every token a little less than training did, the rest to an id that never occurs."""

    nats = 0.5

    def predict(self, state: State) -> Tensor:
        p_NV = self.inner.predict(state).softmax(-1) * math.exp(-self.nats)
        p_NV[:, 2] = 1 - math.exp(-self.nats)
        return p_NV.log().clamp(min=-1e4)


def test_inference_beside_training() -> None:
    found = account(Shifted(same(plan(L), kinds=3)))
    assert nats(found)["inference"] == near(0.5)
    assert found.largest is not None and found.largest.name == "inference"


class Remembers(Wrapped):
    """A subject with the record that it had before it was harmed."""

    def __init__(self, inner: Subject, kept: Record) -> None:
        super().__init__(inner)
        self.kept = kept

    def record(self) -> Record:
        return self.kept


def test_now_beside_recorded() -> None:
    class Harmed(Shifted):
        def training_view(self, batch: Batch, seed: int) -> Any:
            view = self.inner.training_view(batch, seed)
            return replace(view, ce_N=view.ce_N + self.nats)

    whole = same(plan(L), kinds=3)
    found = account(Remembers(Harmed(whole), record_of(whole, "training")))
    assert nats(found)["recorded"] == near(0.5) and nats(found)["inference"] == near(0)
    assert found.largest is not None and found.largest.repair == "weights.loaded"


def test_one_harm_is_not_counted_twice() -> None:
    whole = same(plan(L), kinds=3)
    lines = nats(account(Remembers(Shifted(whole), record_of(whole, "training"))))
    assert lines["inference"] == near(0.5) and lines["recorded"] == near(0)


def test_a_later_record_says_nothing_of_training() -> None:
    whole = same(plan(L))
    found = account(Remembers(whole, record_of(whole, "later")))
    assert "recorded later" in found.left_out["recorded"]


def test_a_subject_that_writes_nothing_still_has_lines() -> None:
    class Silent(Subject):
        vocab_size, mask_id = 3, 2

        def data(self, n: int, split: Any = "held_out") -> Batch:
            return same().data(n, split)

        def predict(self, state: State) -> Tensor:
            return same().predict(state)

    found = account(Silent())
    assert {"learned", "held_out"} <= set(nats(found)) and "generate" in found.left_out["steps"]


def test_nothing_to_ask_is_said() -> None:
    class Nothing(Subject):
        vocab_size = 3

    found = ledger(CheckContext(Nothing(), QUARTERS))
    assert "data" in found.why and not found.lines and found.tree()["why"] == found.why


class Coins(Subject):
    """A causal model of independent coins, written at another temperature than 1."""

    kind = "causal"
    vocab_size = 2
    p = torch.tensor(P, dtype=torch.float64)

    def data(self, n: int, split: Any = "held_out") -> Batch:
        noise = torch.Generator().manual_seed(0)
        return Batch(torch.multinomial(self.p.float(), 60 * L, replacement=True, generator=noise).view(60, L)[:n])

    def predict(self, state: State) -> Tensor:
        return self.p.log().expand(int(state.at_BL.sum()), 2)

    def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
        ids_BL = torch.zeros_like(batch.ids_BL)
        at_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
        steps = tuple(Step(ids_BL, at_BL.index_fill(1, torch.tensor([i]), True)) for i in range(1, L))
        return Generated(ids_BL, steps, temperature=0.5)


def test_a_causal_model_has_the_lines_that_apply() -> None:
    found = account(Coins())
    tail = Coins().data(32).ids_BL[:, 1:]
    assert found.reference is not None and found.reference.value == near(float(-Coins.p.log()[tail].mean()))
    lines = nats(found)
    cold = Coins.p**2 / (Coins.p**2).sum()
    assert lines["law"] == near(float((cold * (cold / Coins.p).log()).sum()))
    assert lines["draw"] == near(float(-cold[0].log() + (cold * cold.log()).sum()))
    assert lines["unexplained"] == 0 and lines["held_out"] == near(0)
    assert {"steps", "division", "order", "compounding"} <= set(found.left_out)


# parts


def test_the_best_schedule_is_the_best_of_all() -> None:
    noise = torch.Generator().manual_seed(3)
    ratios = torch.arange(1, 9, dtype=torch.float64) / 8
    curve = LossCurve(ratios, [Estimate(float(x), {}) for x in torch.rand(8, generator=noise).sort().values])

    def cost(counts: Any) -> float:
        return float(divided(counts, ratios) @ curve.loss_R)

    every = [c for c in itertools.product(range(1, 9), repeat=3) if sum(c) == 8]
    assert cost(best(8, 3, curve)) == pytest.approx(min(cost(c) for c in every))


def test_a_restricted_law_and_its_draws() -> None:
    model = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64).log().expand(4, -1)
    out = Generated(torch.zeros(1, 1), temperature=1.0, top_k=2)
    kl_N, off_N = divergence(model, model, torch.arange(4), out)
    assert kl_N.tolist() == pytest.approx([-math.log(0.8)] * 4)
    assert 0.625 * float(off_N[0]) + 0.375 * float(off_N[1]) == pytest.approx(0)
    assert float(off_N[2]) > 10  # outside of what top-k left


def test_guidance_is_part_of_the_law() -> None:
    noise = torch.Generator().manual_seed(0)
    model, null = torch.randn(2, 3, 5, generator=noise, dtype=torch.float64).log_softmax(-1)
    asked = null + 3 * (model - null)
    kl_N, _ = divergence(model, asked, torch.zeros(3, dtype=torch.long), Generated(torch.zeros(1, 1), guidance=3.0))
    q = asked.softmax(-1)
    assert kl_N.tolist() == pytest.approx((q * (q.log() - model)).sum(-1).tolist())


def test_estimates_of_the_same_texts_share_their_error() -> None:
    noise = torch.Generator().manual_seed(0)
    value, text = torch.rand(60, generator=noise).double(), torch.arange(60) // 3
    one = Estimate.of_tokens("held_out", value, text, 20)
    plain = mean_by_text(value, text)
    assert (one.value, one.mean.error, one.mean.texts) == pytest.approx((plain.value, plain.error, 20))
    assert (one - one).mean.error == 0
    apart = (one - Estimate(one.value, {"other": one.pulls["held_out"]})).mean
    assert apart.error == pytest.approx(math.sqrt(2) * one.mean.error)
