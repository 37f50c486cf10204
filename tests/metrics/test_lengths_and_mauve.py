"""Lengths, their distances, and MAUVE with its refusal of small samples."""

import numpy as np
import pytest
import torch
from scipy import stats

from unmask.core.errors import UsageError
from unmask.metrics.length import length_distance, length_histogram, text_lengths, until_eos
from unmask.metrics.mauve import mauve


def test_lengths_include_eos_and_leave_out_padding():
    PAD, EOS = 0, 1
    ids = torch.tensor([[5, 6, EOS, PAD], [5, EOS, 7, EOS], [5, 6, 7, 8], [5, PAD, PAD, PAD], [EOS, PAD, PAD, PAD]])
    assert text_lengths(ids, EOS, PAD).tolist() == [3, 2, 4, 1, 1]
    assert text_lengths(ids, None, None).tolist() == [4] * 5
    assert until_eos(ids, EOS, PAD) == [[5, 6, 1], [5, 1], [5, 6, 7, 8], [5], [1]]


def test_padding_with_eos_still_ends_at_the_first():
    assert text_lengths(torch.tensor([[5, 1, 1, 1], [5, 6, 7, 8]]), 1, 1).tolist() == [2, 4]


def test_length_distances_agree_with_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.integers(1, 30, 200), rng.integers(5, 50, 90)
    found = length_distance(a, b)
    assert found.ks == pytest.approx(stats.ks_2samp(a, b).statistic)
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(a, b))
    shifted = length_distance(a + 7, a)
    assert shifted.wasserstein == pytest.approx(7) and shifted.mean - shifted.data_mean == pytest.approx(7)
    assert length_distance(a, a).ks == 0
    with pytest.raises(UsageError, match="0 texts"):
        length_distance([], a)


def test_length_histogram_is_a_share_with_an_overflow():
    assert length_histogram([1, 1, 3, 9], 4).tolist() == [0, 0.5, 0, 0.25, 0.25]


def test_mauve_says_why_it_was_not_measured():
    few = mauve(np.zeros((10, 3)), np.zeros((2000, 3)))
    assert few.value is None and few.texts == 10
    assert "10 texts are fewer than the 1000" in str(few.missing)
    assert "encoder" in str(mauve(None, None).missing)


def test_mauve_is_high_for_one_distribution_and_low_for_two():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(400, 8)), rng.normal(size=(500, 8))
    same, apart = mauve(a, b, min_texts=400), mauve(a, b + 4, min_texts=400)
    assert same.missing is None and same.value > 0.9
    assert apart.value < 0.1
