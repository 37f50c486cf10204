import pytest

from unmask.core.errors import UsageError
from unmask.metrics.word_distribution import word_distribution_overlap
from unmask.metrics.word_f1 import word_f1


def test_word_f1_by_hand():
    # 2 words shared of 3 and 4: 2*2/7; padding with the right word does not help: 2*1/(4+1)
    scores = word_f1(["a b x", "a a a a", "", "b a"], ["a b c d", "a", "", "a b"])
    assert scores.tolist() == pytest.approx([4 / 7, 2 / 5, 1.0, 1.0])


def test_word_distribution_overlap_by_hand():
    assert word_distribution_overlap(["a b"], ["b a", "a b"]) == pytest.approx(1.0)
    assert word_distribution_overlap(["x"], ["a b"]) == pytest.approx(0.0)
    # p = (1, 0), q = (1/2, 1/2), m = (3/4, 1/4): JS = (log2(4/3) + 1/2 log2(2/3) + 1/2 log2(2)) / 2
    assert word_distribution_overlap(["a"], ["a b"]) == pytest.approx(1 - 0.311278, abs=1e-5)
    assert word_distribution_overlap([""], ["a b"]) == 0.0
    with pytest.raises(UsageError, match="no word"):
        word_distribution_overlap(["a"], [""])
