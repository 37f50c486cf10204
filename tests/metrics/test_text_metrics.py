"""Metrics on texts against values computed by hand."""

import math

import numpy as np
import pytest

from unmask.core.errors import UsageError
from unmask.metrics.bleu import bleu
from unmask.metrics.distinct_n import distinct_n
from unmask.metrics.exact_match import exact_match
from unmask.metrics.ngram_overlap import ngram_overlap
from unmask.metrics.perplexity import perplexity
from unmask.metrics.rep_n import rep_n
from unmask.metrics.token_accuracy import token_accuracy
from unmask.metrics.token_entropy import pooled_entropy, token_entropy
from unmask.metrics.word_recall import word_recall
from unmask.metrics.words import ngrams, word_tokens


def test_words_drop_case_and_punctuation_but_keep_apostrophes():
    assert word_tokens("Don't weep, O Zion; 12 gates.") == ["don't", "weep", "o", "zion", "12", "gates"]


def test_ngrams_of_short_sequences_and_zero():
    assert list(ngrams([1, 2, 3], 2)) == [(1, 2), (2, 3)]
    assert list(ngrams([1], 2)) == []
    with pytest.raises(UsageError, match="n=0"):
        ngrams([1], 0)


def test_exact_match_ignores_only_white_space():
    assert exact_match(["a  b\n", "A b", "a b."], ["a b"] * 3).tolist() == [1, 0, 0]


def test_token_accuracy_counts_too_short_and_too_long_as_wrong():
    hits, places = token_accuracy([[1, 2, 9], [1], [1, 2, 3, 4], []], [[1, 2, 3], [1, 2], [1, 2], [7]])
    assert hits.tolist() == [2, 1, 2, 0]
    assert places.tolist() == [3, 2, 4, 1]


def test_token_accuracy_does_not_forgive_a_shift():
    hits, _ = token_accuracy([[0, 1, 2, 3]], [[1, 2, 3, 4]])
    assert hits.tolist() == [0]


def test_word_recall_counts_repeats_once_each():
    found, wanted = word_recall(["the the cat", "Cat! the"], ["the cat the dog", "the cat the dog"])
    assert found.tolist() == [3, 2]
    assert wanted.tolist() == [4, 4]


def test_bleu_of_a_hand_computed_pair():
    # 6 words, 5 hit; bigrams 3 of 5; trigrams 2 of 4; 4-grams 1 of 3; no brevity
    hypothesis, reference = "the cat sat on a mat", "the cat sat on the mat"
    score = bleu([hypothesis], [reference])
    assert score.bleu == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)
    assert score.bleu_1 == pytest.approx(100 * 5 / 6)
    assert score.brevity_penalty == 1


def test_bleu_brevity_penalty():
    score = bleu(["a b c d e"], ["a b c d e f g h i j"])
    assert score.brevity_penalty == pytest.approx(math.exp(1 - 10 / 5))
    assert score.bleu == pytest.approx(100 * math.exp(-1))
    with pytest.raises(UsageError, match="at least one text"):
        bleu([], [])


def test_pairs_must_pair_up():
    for metric in (exact_match, word_recall, token_accuracy, bleu):
        with pytest.raises(UsageError, match="2 hypotheses cannot be compared with 1"):
            metric(["a", "b"], ["a"])


def test_distinct_n_pools_the_sample():
    assert distinct_n([[1, 1, 1], [1, 2]], 1) == 2 / 5
    assert distinct_n([[1, 1, 1], [1, 2]], 2) == 2 / 3
    assert math.isnan(distinct_n([[1]], 2))


def test_rep_n_is_within_each_text():
    rates = rep_n([[1, 1, 1, 1], [1, 2, 1, 2], [5]], 2)
    assert rates[:2].tolist() == pytest.approx([1 - 1 / 3, 1 - 2 / 3])
    assert math.isnan(rates[2])


def test_entropy_in_nats_of_each_text_and_of_the_pool():
    per_text = token_entropy([[1, 1, 1], [1, 2, 3, 4], [1, 1, 2]])
    assert per_text.tolist() == pytest.approx([0, math.log(4), -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))])
    # every text is a single word, yet the pool has four: the two entropies tell different stories
    assert token_entropy([[i] * 5 for i in range(4)]).max() == 0
    assert pooled_entropy([[i] * 5 for i in range(4)]) == pytest.approx(math.log(4))
    assert math.isnan(pooled_entropy([[]]))


def test_overlap_with_training_text_against_held_out_text():
    train = [[1, 2, 3, 4, 5]]
    result = ngram_overlap([[1, 2, 3], [9, 9, 9]], train, [[3, 4, 9, 9, 9, 9]], n=2)
    assert result.generated == 2 / 4
    assert result.held_out == 1 / 5
    assert result.novelty == 1 / 2
    assert result.excess == pytest.approx(0.3)


def test_overlap_reads_training_text_once_and_in_order():
    stream = iter([[1, 2], [3, 4]])
    assert ngram_overlap([[2, 3]], stream, [[1, 2]], n=2).generated == 0, "n-grams must not cross texts"


def test_perplexity_weighs_tokens_not_texts():
    ppl = perplexity([np.full(9, math.log(2.0)), [math.log(32.0)], []])
    assert ppl.value == pytest.approx(math.exp((9 * math.log(2) + math.log(32)) / 10))
    assert ppl.texts == 3
    assert perplexity([np.full(7, math.log(50.0))] * 4).low == pytest.approx(50)
