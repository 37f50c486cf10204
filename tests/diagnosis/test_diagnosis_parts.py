"""Guard, statistics, baselines and single measurements against known answers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from oracles import JointDenoiser, UniformDenoiser, toy_joint
from unmask.core.errors import UsageError
from unmask.diagnosis.baselines import Baselines
from unmask.diagnosis.bound import mean_bound
from unmask.diagnosis.check import checks, run_check
from unmask.diagnosis.checks.draw_calibration import fit_temperature, likelihood
from unmask.diagnosis.checks.length import _ks_chance
from unmask.diagnosis.context import BUDGETS, CheckContext, moved
from unmask.diagnosis.division import best_cost, even_cost
from unmask.diagnosis.estimate import Estimate
from unmask.diagnosis.native import NativeSubject
from unmask.diagnosis.staircase import LossCurve
from unmask.diagnosis.statistics import Mean, difference, mean_by_text, plain_mean, sure, tolerance
from unmask.diagnosis.subject import METHODS, Batch, Generated, State, Subject, TrainingView, Wrapped


def toy(rows: int = 3000, vocab: int = 5, length: int = 6) -> NativeSubject:
    """Rows of an exact joint, and the denoiser that knows it."""
    joint = toy_joint(0, vocab=vocab, length=length)
    denoiser = JointDenoiser(joint)
    noise = torch.Generator().manual_seed(1)
    drawn = torch.multinomial(denoiser.joint.flatten(), rows, replacement=True, generator=noise)
    ids = denoiser.support()[drawn]
    return NativeSubject(denoiser, Batch(ids[:500]), Batch(ids[500:]))


def test_error_counts_texts_not_tokens() -> None:
    value = torch.tensor([1.0, 3.0]).repeat_interleave(100)
    text = torch.arange(2).repeat_interleave(100)
    mean = mean_by_text(value, text)
    assert mean.value == 2.0 and mean.texts == 2
    assert mean.error == pytest.approx(1.0)  # two texts at 1 and 3: sd sqrt(2), over sqrt(2)
    assert plain_mean(value).error < 0.1


def test_error_of_equal_texts_is_the_textbook_one() -> None:
    x = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert plain_mean(x).error == pytest.approx(float(x.std() / math.sqrt(50)))


def test_one_text_proves_nothing() -> None:
    assert mean_by_text(torch.ones(5), torch.zeros(5, dtype=torch.long)).surely_above == -math.inf


@pytest.mark.parametrize("texts", [2, 3, 4, 8, 32])
def test_few_texts_are_surely_above_as_rarely_as_many(texts: int) -> None:
    """Student's t is the law of mean over error: its tail beyond ``sure`` is the normal tail beyond 4."""
    tail = 0.5 * math.erfc(4 / math.sqrt(2))
    from scipy.stats import t

    assert t.sf(sure(texts), texts - 1) == pytest.approx(tail, rel=1e-6) and sure(texts) > sure(10**6)
    assert sure(10**6) == pytest.approx(4.0, abs=1e-4)
    # two texts in closed form: the tail of Cauchy's law
    assert sure(2) == pytest.approx(1 / math.tan(math.pi * tail), rel=1e-6)
    draws = torch.randn(4000, texts, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alarms = sum(plain_mean(draw).surely_above > 0 for draw in draws)
    assert alarms <= 3  # 0.13 are expected; at 4 standard errors it was 305 with 2 texts, 12 with 8


def test_a_difference_is_as_sure_as_the_one_of_fewer_texts() -> None:
    gap = difference(Mean(3.0, 0.3, 8), Mean(1.0, 0.4, 100))
    assert gap == Mean(2.0, 0.5, 8) and gap.surely_above == pytest.approx(2 - 0.5 * sure(8))
    assert gap.surely_below == pytest.approx(2 + 0.5 * sure(8))
    # without an error that could be estimated nothing is sure, not even of equal numbers
    assert Mean(1.0, 0.0, 1).surely_above == -math.inf and Mean(1.0, 0.0, 1).surely_below == math.inf


def test_tolerance_is_half_the_digits() -> None:
    assert tolerance(torch.float32) == pytest.approx(2**-11.5) and tolerance(torch.bfloat16) > 0.05


def test_unigrams_are_witten_bell() -> None:
    ids = torch.tensor([[3, 3, 4, 1, 0, 0]])  # 3 3 4 EOS, padding out
    counts = Baselines.fit(ids, vocab_size=6, eos_id=1, pad_id=0)
    assert counts.tokens == 4
    assert counts.unigram_V.exp().sum() == pytest.approx(1.0)
    assert float(counts.unigram_V[3].exp()) == pytest.approx((2 + 3 / 6) / 7)


def test_bigrams_are_a_distribution() -> None:
    ids = torch.randint(2, 9, (200, 12), generator=torch.Generator().manual_seed(0))
    counts = Baselines.fit(ids, vocab_size=10, eos_id=None, pad_id=None)
    every = torch.arange(10)
    for left in (2, 5, 9):
        assert counts.bigram_ce(torch.full((10,), left), every).neg().exp().sum() == pytest.approx(1.0)
    hidden = counts.bigram_ce(torch.full((10,), -1), every)
    assert torch.equal(hidden, counts.unigram_ce(every))


def test_temperature_is_recovered() -> None:
    noise = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 30, dtype=torch.float64, generator=noise)
    for wanted in (0.4, 1.0, 1.7):
        ids = torch.multinomial((logits / wanted).softmax(-1), 1, generator=noise).squeeze(1)
        found, error = fit_temperature(logits, ids)
        assert abs(found - wanted) < 4 * error and error < 0.05
    assert fit_temperature(logits, logits.argmax(-1)) == (0.0, 0.0)


def test_certain_predictions_tell_no_temperature() -> None:
    unsure, sure = torch.zeros(100, 2, dtype=torch.float64), torch.zeros(100, 2, dtype=torch.float64)
    unsure[:, 0], sure[:, 0] = 1.0, 40.0
    best = torch.zeros(100, dtype=torch.long)
    # 100 draws without one miss, at odds of e**2 to 1 under temperature 0.5
    assert likelihood(unsure, best, 0.5) == pytest.approx(-100 * math.log1p(math.exp(-2)))
    assert likelihood(sure, best, 0.5) == pytest.approx(0.0, abs=1e-9) and likelihood(sure, best, 0.0) == 0.0


def curve_of(*losses: float) -> LossCurve:
    ratios = torch.arange(1, len(losses) + 1).double() / len(losses)
    return LossCurve(ratios, [Estimate(loss, {}) for loss in losses])


def test_staircase_ends_at_the_bound_and_at_all_at_once() -> None:
    curve = curve_of(1.0, 2.0, 3.0, 4.0)
    assert even_cost(curve, 4) == pytest.approx(2.5)  # mean of the curve at 1, 3/4, 1/2, 1/4
    assert even_cost(curve, 4, 2) == pytest.approx(3.0)  # two at r = 1, two at r = 1/2
    assert even_cost(curve, 4, 4) == pytest.approx(4.0) and even_cost(curve, 4, 3) == pytest.approx(3.25)


def test_the_best_schedule_is_no_worse_than_any_other() -> None:
    curve = curve_of(1.0, 1.2, 3.0, 7.0)
    # all divisions of 4 tokens into 2 steps: 1+3, 2+2, 3+1
    every = [(7 * 1 + 3 * 3) / 4, (7 * 2 + 1.2 * 2) / 4, (7 * 3 + 1 * 1) / 4]
    assert best_cost(curve, 4, 2) == pytest.approx(min(every))
    assert best_cost(curve, 4, 1) == pytest.approx(7.0)
    assert best_cost(curve, 4, 9) == pytest.approx(even_cost(curve, 4))


def test_smirnov_series() -> None:
    # critical value 1.3581 leaves 5 %
    assert _ks_chance(1.3581 / math.sqrt(50), 100, 100) == pytest.approx(0.05, abs=2e-4)
    assert _ks_chance(0.0, 10, 10) == 1.0


def test_own_bound_of_an_exact_joint_is_its_entropy() -> None:
    subject = toy()
    context = CheckContext(subject, BUDGETS["full"])
    truth = -subject.denoiser.log_prob(context.batch.ids_BL) / 6  # type: ignore[attr-defined]
    found = mean_bound(context)
    # the bound of exact marginals under random orders is exact in expectation
    assert abs(found.value - float(truth.mean())) < 3 * found.error + 0.02


def test_moved_is_total_variation() -> None:
    a, b = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    assert float(moved(a, b)) == pytest.approx(0.4)


def test_an_exact_model_is_at_home_in_its_own_text() -> None:
    finding = run_check(checks.make("compounding"), CheckContext(toy(), replace(BUDGETS["full"], samples=64)))
    assert finding.status == "pass"
    assert abs(finding.numbers["own_excess_nats"]) < 0.25


def test_a_uniform_model_scores_log_v() -> None:
    ids = torch.randint(0, 10, (64, 16), generator=torch.Generator().manual_seed(0))
    subject = NativeSubject(UniformDenoiser(), Batch(ids), Batch(ids))
    context = CheckContext(subject, BUDGETS["quick"])
    assert subject.training_view(Batch(ids), 0).loss == pytest.approx(math.log(10), rel=1e-5)
    assert mean_bound(context).value == pytest.approx(math.log(10), rel=1e-5)
    finding = run_check(checks.make("bound_calibration"), context)
    assert finding.status == "pass" and finding.numbers["factor"] == pytest.approx(1.0, abs=1e-5)


def test_a_bound_without_weights_is_compared_with_our_own() -> None:
    class Secretive(Wrapped):
        scale = 1.0

        def training_view(self, batch: Batch, seed: int) -> TrainingView:
            view = self.inner.training_view(batch, seed)
            return replace(view, weight_N=None, loss=view.loss * self.scale)

    subject = Secretive(toy())
    assert run_check(checks.make("bound_calibration"), CheckContext(subject, BUDGETS["quick"])).status == "pass"
    subject.scale = 2.0
    assert run_check(checks.make("bound_calibration"), CheckContext(subject, BUDGETS["quick"])).status == "fail"


def test_hidden_states_hide_what_they_say() -> None:
    context = CheckContext(toy(), BUDGETS["quick"])
    x, hidden = context.hide(context.batch.ids_BL, 0.5)
    assert torch.equal(x == context.mask_id, hidden) and bool((hidden.sum(1) == 3).all())
    assert torch.equal(x[~hidden], context.batch.ids_BL[~hidden])
    again, _ = context.hide(context.batch.ids_BL, 0.5)
    assert torch.equal(x, again)


class Nothing(Subject):
    vocab_size, mask_id = 6, 5


def test_what_is_not_provided_is_never_a_pass() -> None:
    context = CheckContext(Nothing(), BUDGETS["quick"])
    for name in checks:
        assert run_check(checks.make(name), context).status == "not_run", name
    assert not any(Nothing().provides(m) or context.subject.provides(m) for m in METHODS)
    assert Wrapped(toy()).provides("predict") and not Wrapped(Nothing()).provides("predict")


@pytest.mark.parametrize("method", ["data", "training_view", "predict", "generate"])
def test_a_method_that_raises_is_a_finding_with_its_message(method: str) -> None:
    def broken(self: Any, *_: Any, **__: Any) -> Any:
        raise KeyError("no <weights> here")

    subject = type("Broken", (Wrapped,), {method: broken})(toy())
    context = CheckContext(subject, BUDGETS["quick"])
    found = [run_check(checks.make(name), context) for name in ("train_inference", "safe_words")]
    said = [f for f in found if f.status == "fail" and "no <weights> here" in f.measured]
    assert said and said[0].numbers["method"] == method and said[0].share == 1.0


def test_nan_and_wrong_shapes_are_findings() -> None:
    class Odd(Wrapped):
        def predict(self, state: State) -> torch.Tensor:
            logits = self.inner.predict(state)
            return logits[:-1] if self.short else torch.full_like(logits, float("nan"))

        short = False

    subject = Odd(toy())
    finding = run_check(checks.make("loss_by_ratio"), CheckContext(subject, BUDGETS["quick"]))
    assert finding.status == "fail" and "NaN" in finding.measured
    subject.short = True
    finding = run_check(checks.make("loss_by_ratio"), CheckContext(subject, BUDGETS["quick"]))
    assert finding.status == "fail" and "positions were asked for" in finding.measured


def test_a_check_that_breaks_is_not_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    check = checks.make("mask_mass")
    monkeypatch.setattr(type(check), "run", lambda self, context: 1 / 0)
    finding = run_check(check, CheckContext(toy(), BUDGETS["quick"]))
    assert finding.status == "not_run" and "ZeroDivisionError" in finding.why


def test_forwards_are_counted_and_do_not_depend_on_the_corpus() -> None:
    counts = []
    for rows in (700, 3000):
        context = CheckContext(toy(rows), BUDGETS["quick"])
        run_check(checks.make("loss_by_ratio"), context)
        counts.append(context.subject.forwards)
    # six ratios of 48 rows, and four views of training
    assert counts == [10 * 48, 10 * 48]


def test_a_loss_that_ignores_the_targets_proves_nothing() -> None:
    class Stubborn(Wrapped):
        def training_view(self, batch: Batch, seed: int) -> TrainingView:
            return self.inner.training_view(replace(batch, target_BL=None), seed)

    finding = run_check(checks.make("scored_visible"), CheckContext(Stubborn(toy()), BUDGETS["quick"]))
    assert finding.status == "not_run" and "batch.targets" in finding.next_step


def test_noise_that_is_not_seeded_is_said() -> None:
    class Careless(Wrapped):
        calls = 0

        def training_view(self, batch: Batch, seed: int) -> TrainingView:
            self.calls += 1
            return self.inner.training_view(batch, seed + self.calls)

    for name in ("scored_visible", "train_inference"):
        finding = run_check(checks.make(name), CheckContext(Careless(toy()), BUDGETS["quick"]))
        assert finding.status == "fail" and "draw all its noise from the seed" in finding.measured


def test_padding_is_asked_about_only_where_it_is_heeded() -> None:
    subject = toy()
    subject.ragged = False
    assert run_check(checks.make("future_invariance"), CheckContext(subject, BUDGETS["quick"])).status == "not_run"


def test_two_texts_are_the_least() -> None:
    subject = NativeSubject(UniformDenoiser(), Batch(torch.zeros(1, 4, dtype=torch.long)))
    with pytest.raises(UsageError, match="at least 2"):
        _ = CheckContext(subject, BUDGETS["quick"]).batch


def test_generated_rows_must_be_as_many_as_asked() -> None:
    class Lazy(Wrapped):
        def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
            return self.inner.generate(batch.rows(0, 3), seed, **settings)

    finding = run_check(checks.make("frontier"), CheckContext(Lazy(toy()), BUDGETS["quick"]))
    assert finding.status == "fail" and "wrote 3 texts" in finding.measured


def test_a_check_for_masked_models_says_why() -> None:
    for name in checks:
        check = checks.make(name)
        if check.kinds == ("masked",):
            assert len(check.apart) > 20 and not check.apart.endswith("."), name
    nothing = Nothing()
    nothing.kind = "causal"
    found = run_check(checks.make("mask_mass"), CheckContext(nothing, BUDGETS["quick"]))
    assert found.status == "not_run" and found.why.endswith("causal: a causal model has no mask that could be drawn")
