"""Near-duplicates against a count by sets of words, one pair of texts at a time."""

import random

import numpy as np
import pytest

from unmask.data.near_duplicates import HeldOut, N, near_duplicates, same_words
from unmask.data.sentences import words


def grams(text: str, n: int = N) -> list[tuple[str, ...]]:
    found = words(text)
    if not found:
        return []
    return [tuple(found[i : i + n]) for i in range(max(1, len(found) - n + 1))]


def by_sets(text: str, held_out: list[str]) -> float:
    mine = grams(text)
    return (
        max((sum(g in set(grams(other)) for g in mine) / len(mine) for other in held_out), default=0.0) if mine else 0.0
    )


@pytest.mark.parametrize("seed", range(3))
def test_overlap_is_what_sets_of_ngrams_give(seed):
    rng = random.Random(seed)
    base = [" ".join(rng.choice("abcdefgh") for _ in range(rng.randint(0, 20))) for _ in range(40)]
    held_out = base[:20]
    texts = [*base[20:], *(f"{a} {b}" for a, b in zip(base[:20], base[20:], strict=True)), "", "!", *base[:5]]
    found = HeldOut(held_out).overlap(texts)
    assert np.allclose(found, [by_sets(text, held_out) for text in texts])
    assert found.max() == 1
    # a floor changes nothing above it
    floored = HeldOut(held_out).overlap(texts, 0.4)
    assert np.allclose(floored[found > 0.4], found[found > 0.4])


def test_shares_in_different_held_out_texts_do_not_add_up():
    text = "one two three four five six seven eight nine ten eleven twelve"
    halves = ["one two three four five six seven eight", "five six seven eight nine ten eleven twelve"]
    assert HeldOut(halves).overlap([text])[0] == pytest.approx(3 / 7)
    assert not near_duplicates([text], halves, 0.5)[0]
    assert near_duplicates([text], [text.upper() + "!"], 0.5)[0]


def test_short_texts_are_near_duplicates_of_equal_ones_alone():
    assert near_duplicates(["And he said", "And he said so"], ["and he said."], 0.5).tolist() == [True, False]
    assert near_duplicates([], ["a"], 0.5).tolist() == [] and near_duplicates(["a b"], [], 0.5).tolist() == [False]


def test_same_words_in_the_same_order():
    texts = ["He went home.", "home he went", "he  WENT home!", "he went"]
    assert same_words(texts, ["he went home"]).tolist() == [True, False, True, False]
