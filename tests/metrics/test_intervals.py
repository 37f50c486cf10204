"""Bootstrap intervals against the normal theory they must agree with."""

import math

import numpy as np
import pytest

from unmask.core.errors import UsageError
from unmask.metrics.bootstrap import ratio_interval, statistic_interval


def test_mean_interval_agrees_with_the_normal_one():
    x = np.random.default_rng(0).normal(3.0, 2.0, 2000)
    found = ratio_interval(x, resamples=4000)
    half = 1.96 * x.std() / math.sqrt(len(x))
    assert found.value == pytest.approx(x.mean())
    assert found.low == pytest.approx(x.mean() - half, abs=0.06 * half)
    assert found.high == pytest.approx(x.mean() + half, abs=0.06 * half)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(300):
        tokens = rng.integers(5, 40, 60)
        nats = tokens * 2.0 + rng.normal(0, 3, 60)
        found = ratio_interval(nats, tokens, level=0.9, resamples=300, seed=trial)
        covered += found.low <= 2.0 <= found.high
    # binomial(300, .9) has a standard deviation of 5.2; percentile intervals at n = 60 run a little short
    assert 248 <= covered <= 290


def test_pairing_removes_what_both_share():
    rng = np.random.default_rng(2)
    shared = rng.normal(0, 10, 400)
    a, b = shared + 0.5 + rng.normal(0, 0.5, 400), shared
    paired = ratio_interval(a - b)
    assert paired.above_zero
    unpaired_half = 1.96 * math.sqrt(a.var() / 400 + b.var() / 400)
    assert (paired.high - paired.low) / 2 < unpaired_half / 10


def test_ratio_is_of_sums_and_units_map_through():
    found = ratio_interval([10.0, 1.0], [10, 0.5])
    assert found.value == pytest.approx(11 / 10.5)
    bits = found.map(lambda nats: nats / math.log(2))
    assert bits.low == pytest.approx(found.low / math.log(2))


def test_chunked_resampling_changes_nothing(monkeypatch):
    x = np.random.default_rng(3).normal(size=50)
    whole = ratio_interval(x, seed=5)
    monkeypatch.setattr("unmask.metrics.bootstrap._CHUNK_NUMBERS", 50 * 7)
    parts = ratio_interval(x, seed=5)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=1e-12)


def test_too_little_to_say():
    assert math.isnan(ratio_interval([]).value)
    assert math.isnan(ratio_interval([1.0, 2.0], [0, 0]).value)
    one = ratio_interval([4.0], [2.0])
    assert one.value == 2 and math.isnan(one.low)
    assert str(one) == "2"


def test_statistic_interval_resamples_rows():
    x = np.random.default_rng(4).normal(size=500)
    found = statistic_interval(lambda rows: float(np.median(x[rows])), 500, resamples=500)
    assert found.value == np.median(x)
    # standard error of a median: 1.2533 sigma / sqrt(n)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 1.2533 / math.sqrt(500), rel=0.25)


def test_wrong_use_is_named():
    with pytest.raises(UsageError, match="level=95"):
        ratio_interval([1.0, 2.0], level=95)
    with pytest.raises(UsageError, match="one number a text"):
        ratio_interval([1.0, 2.0], [1.0])
