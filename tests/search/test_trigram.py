"""The trigram is a distribution, and scores of many are those of each."""

import numpy as np
import pytest

from unmask.search.trigram import Trigram

ROWS = [[0, 1, 2], [0, 1, 3], [2, 0, 1], [4, 0]]


@pytest.fixture(scope="module")
def trigram():
    return Trigram.counted(ROWS, 5)


@pytest.mark.parametrize("history", [(7, 7), (7, 0), (0, 1), (3, 2), (5, 5)])
def test_probabilities_sum_to_one(trigram, history):
    a, b = (np.full(7, h) for h in history)
    total = np.exp(trigram.log_prob(a, b, np.arange(7))).sum()
    assert total == pytest.approx(1.0, abs=2e-6)


def test_what_was_seen_is_likelier(trigram):
    assert trigram.score([0, 1, 2]) > trigram.score([1, 0, 2])


def test_scores_of_many_are_those_of_each(trigram):
    rows = [[0, 1, 2], [], [4], [5, 5, 0, 1]]
    assert trigram.scores(rows) == pytest.approx([trigram.score(row) for row in rows], abs=1e-6)
