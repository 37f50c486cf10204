"""Verifiers of texts: graded scores rise as a text comes closer, and only what is right is verified."""

from __future__ import annotations

import pytest

from unmask.core.errors import UsageError
from unmask.core.sampling_config import SamplingConfig
from unmask.search.verifier import text_verifier


def _checked(texts: list[str], verify: str, before: str = "", **settings: object):
    config = SamplingConfig(verify=verify, **settings)
    check = text_verifier(config, [before], "a model")
    assert check is not None
    return check.check(texts, [0] * len(texts))


@pytest.mark.parametrize(
    ("verify", "settings", "texts"),
    [
        ("regex", {"pattern": r"\d\d-\d\d"}, ["xxxxx", "1xxxx", "12-xx", "12-3x", "12-34"]),
        ("json", {}, ["xxxxxxx", '{"axxxx', '{"a": 1', '{"a": 1}']),
        ("arithmetic", {}, ["none", "1 + 1 = 2, 2 + 2 = 5", "1 + 1 = 2, 2 * 3 = 6"]),
    ],
)
def test_scores_rise_towards_what_is_right(verify, settings, texts):
    found = _checked(texts, verify, **settings)
    scores = list(found[0] if isinstance(found, tuple) else next(iter(vars(found).values())))
    assert scores == sorted(scores) and scores[0] < scores[-1] == 1.0
    assert all(score < 1 for score in scores[:-1])


def test_an_equation_goes_on_from_its_prompt():
    config = SamplingConfig(verify="arithmetic")
    check = text_verifier(config, ["12 + 7 ="], "a model")
    right, wrong = (check._one("12 + 7 =", text)[0] for text in (" 19", " 18"))
    assert right == 1.0 and wrong < 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"verify": "regex", "pattern": "(a"}, "no regular expression"),
        ({"verify": "regex"}, "needs a regular expression"),
        ({"pattern": "a"}, "no effect without verify='regex'"),
        ({"verify": "json", "pattern": "a"}, "no effect on verify='json'"),
    ],
)
def test_settings_without_effect_are_refused(settings, says):
    with pytest.raises(UsageError, match=says):
        text_verifier(SamplingConfig(**settings), [""], "a model")
