"""A recipe's texts are found again from what its card keeps, which is as a recipe or a flag said it."""

import pytest

from tiny_training import settings, write_texts
from unmask.core.errors import UsageError
from unmask.data.split import columns_in, split_texts
from unmask.data.text import load_texts
from unmask.training.recipe import parse
from unmask.training.tidal import tidal_examples


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("data"), 60)


@pytest.mark.parametrize("numbers", [str, float, lambda n: f"{n:.1e}"], ids=["words", "floats", "exponents"])
def test_split_texts_reads_numbers_as_flags_say_them(texts, numbers):
    given = {name: numbers(n) for name, n in dict(limit=40, validation=0.3, split_seed=7, near_duplicates=0.5).items()}
    given |= {name: numbers(n) for name, n in dict(crop_min_words=2, crop_max_words=9).items()}
    found = split_texts({"data": str(texts), "crops": "whole,clauses", **given})
    wanted = load_texts(
        texts, limit=40, validation=0.3, seed=7, near_duplicates=0.5, crops="whole,clauses", crop_words=(2, 9)
    )
    assert found.fingerprint == wanted.fingerprint and list(found.validation) == list(wanted.validation)


def test_split_texts_knows_the_words_for_nothing(texts):
    plain = split_texts({"data": str(texts)})
    for no in ("none", "Null", None):
        assert split_texts({"data": str(texts), "limit": no, "near_duplicates": no}).fingerprint == plain.fingerprint


def test_a_recipe_and_its_card_split_alike(texts, tmp_path):
    flags = ["--limit", "50", "--near_duplicates", "0.5", "--validation", "0.2"]
    recipe = parse(settings(texts, tmp_path, validation=...), flags)
    said = []
    found = recipe.texts(said.append)
    again = split_texts(recipe.settings())
    assert found.fingerprint == again.fingerprint and len(found.validation) + len(found.train) <= 50
    assert said == [str(found.report)]


def test_a_recipe_that_holds_out_nothing_is_refused(texts, tmp_path):
    with pytest.raises(UsageError, match="validation=0.0 holds out nothing"):
        parse(settings(texts, tmp_path, validation=0.0)).texts()


def test_columns_in_a_word():
    assert columns_in("a, b") == ["a", "b"] and columns_in("a") == "a" and columns_in(None) is None


def test_a_tidal_recipe_refuses_pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(f'{{"a": "old {i}", "b": "new {i}"}}\n' for i in range(40)), encoding="utf-8")
    recipe = parse(settings(path, tmp_path / "run", family="tidal", column="a,b"))
    with pytest.raises(UsageError, match="writes single texts"):
        tidal_examples(recipe)
