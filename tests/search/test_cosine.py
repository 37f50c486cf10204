"""The cosine verifier."""

import numpy as np
import pytest
import torch

import search_toy as toy
from unmask.core.errors import UsageError
from unmask.search.verifier import verifiers
from unmask.search.verifiers.cosine import CosineVerifier


class Coarse(toy.ToyEncoder):
    """Vectors with an error that hides which text is right."""

    def encode(self, texts, batch_size=64, progress=False):
        return super().encode(texts) + np.float32(2e-3)


def check(text, coarse=None, **settings):
    target = torch.from_numpy(toy.ToyEncoder().encode([text]))[0]
    return CosineVerifier({7: 3.0 * target}, toy.ToyEncoder(), coarse, **settings)


def test_the_text_itself_is_accepted():
    said = check("Anna sees a lantern.").check(["Anna sees a lantern.", "Anna sees the lantern."], [7, 7])
    assert list(said.accepted_N) == [True, False] and said.score_N[0] == 1.0 and list(said.calls_N) == [1, 1]


def test_near_texts_are_judged_again():
    one = check("Anna sees a lantern.", Coarse())
    said = one.check(["Anna sees a lantern.", "Boris likes the river."], [7, 7])
    assert list(said.accepted_N) == [True, False] and list(said.calls_N) == [2, 1]


def test_one_key_for_what_it_cannot_tell_apart():
    assert check("x").key("The KING") == check("x").key("the king")


@pytest.mark.parametrize("spec, least", [("cosine", 0.99995), ("cosine:threshold=0.9", 0.9)])
def test_thresholds(spec, least):
    assert verifiers.make(spec).least() == least


def test_thresholds_follow_the_stored_precision():
    least = [verifiers.make("cosine").least(stored) for stored in ("fp32", "fp16", "bf16", "int8")]
    assert least == sorted(least, reverse=True) and least[0] > least[-1]


def test_a_threshold_is_a_cosine():
    with pytest.raises(UsageError, match="threshold=2"):
        verifiers.make("cosine:threshold=2.0")
