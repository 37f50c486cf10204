"""The n-gram model against its own formula, and what it draws against what it counted."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from unmask.metrics.ngram_model import NgramModel


def test_unigrams_are_witten_and_bell() -> None:
    model = NgramModel([["a", "a", "b"]], 1, kinds=10)
    # a twice, b once, the end once: 3 kinds in 4; what is left, 3 / 7, is shared by 10
    assert model.probability((), "a") == pytest.approx((2 + 3 / 10) / 7)
    assert model.probability((), "never seen") == pytest.approx(3 / 10 / 7)


def test_probabilities_sum_to_one_at_every_order() -> None:
    items = ["a", "b", "c", None]
    model = NgramModel([["a", "b", "a"], ["b", "b"]], 3, kinds=len(items))
    for past in ((None, None), (None, "a"), ("a", "b"), ("c", "c")):
        assert sum(model.probability(past, item) for item in items) == pytest.approx(1)


def test_a_uniform_model_scores_log_kinds() -> None:
    assert NgramModel([], 4, kinds=16).nats(["x", "y"]) == pytest.approx([math.log(16)] * 3)


def test_a_known_text_costs_little() -> None:
    model = NgramModel([list("abcdefgh")] * 50, 5, kinds=30)
    assert sum(model.nats("abcdefgh")) < 0.3 < sum(model.nats("hgfedcba"))


def test_what_is_drawn_is_what_was_counted() -> None:
    model = NgramModel([["a"]] * 3 + [["b"]], 1, kinds=4)
    drawn = Counter(x[0] if x else None for x in model.sample(4000, 1, 0))
    assert drawn["a"] / 4000 == pytest.approx(3 / 8, abs=0.03)  # of a, a, a, b and four ends
    assert drawn[None] / 4000 == pytest.approx(1 / 2, abs=0.03)


def test_high_orders_repeat_the_text_they_know() -> None:
    model = NgramModel([list("abcdefgh")] * 40, 5, kinds=30)
    written = ["".join(map(str, x)) for x in model.sample(50, 20, 1)]
    assert written.count("abcdefgh") > 30 and max(map(len, written)) <= 20
    assert model.sample(5, 20, 1) == model.sample(5, 20, 1)


def test_an_order_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="order=0"):
        NgramModel([], 0, 2)
