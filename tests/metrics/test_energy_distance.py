"""Energy distance against its closed form, and its error against the spread of samples."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.metrics.energy_distance import energy_distance


def test_two_points_far_apart() -> None:
    """All of one sample at 0, all of the other at 5: 2 x 5 - 0 - 0."""
    value, error = energy_distance(np.zeros((4, 3)), np.tile([3.0, 4.0, 0.0], (6, 1)))
    assert value == pytest.approx(10) and error == pytest.approx(0)


def test_samples_of_one_distribution_lie_at_zero_on_average() -> None:
    rng = np.random.default_rng(0)
    found = np.array([energy_distance(rng.normal(size=(20, 8)), rng.normal(size=(20, 8))) for _ in range(200)])
    assert abs(found[:, 0].mean()) < 4 * found[:, 0].std() / 200**0.5


def test_the_jackknife_is_the_spread_of_the_first_sample() -> None:
    rng = np.random.default_rng(1)
    other = rng.normal(size=(400, 4))
    found = np.array([energy_distance(rng.normal(size=(40, 4)) + 1.0, other) for _ in range(200)])
    assert np.median(found[:, 1]) == pytest.approx(found[:, 0].std(), rel=0.25)


def test_two_rows_say_nothing() -> None:
    assert np.isnan(energy_distance(np.zeros((2, 3)), np.ones((9, 3)))).all()
