"""Which held-out texts travel with a model."""

import json

import numpy as np
import pytest

from unmask.core.errors import UsageError
from unmask.data.crops import Crops
from unmask.data.text import load_texts
from unmask.evaluation import held_out_file
from unmask.evaluation.held_out import split_rows, trained_on
from unmask.evaluation.held_out_file import BUCKETS, candidates, draw_texts, read_held_out
from unmask.metrics.bleu import sentence_bleu
from unmask.training.recipe import parse

WORDS = "river stone bread night field horse child water light house wheat tower valley garden window sister".split()


class Bags:
    """An encoder that counts words."""

    width, identity, precision = 64, "bags", "fp32"

    def encode(self, texts, batch_size=64, progress=False):
        found = np.zeros((len(texts), self.width), np.float32)
        for row, text in zip(found, texts, strict=True):
            for word in text.lower().replace(".", "").replace(",", "").split():
                row[sum(map(ord, word)) % self.width] += 1
        return found


def tokens(texts):
    return [len(text.split()) for text in texts]


def said(rng, size):
    return " ".join(rng.choice(WORDS, size)).capitalize() + "."


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    train = [said(rng, 6) + " " + said(rng, 9) for _ in range(200)]
    held = [said(rng, n) for n in (4, 7, 12, 15, 20, 30) for _ in range(8)]
    return train, [*held, *(said(rng, 6) + " " + said(rng, 20) for _ in range(20))]


def test_buckets_hold_what_they_say(texts, tmp_path):
    train, held = texts
    found = draw_texts(candidates(held, tokens, {}), train, Bags(), crops=Crops(), count=45, cache_dir=tmp_path)
    assert {bucket: sum(one.bucket == bucket for one in found) for bucket in BUCKETS} == dict.fromkeys(BUCKETS, 15)
    for one in found:
        assert one.tokens == len(one.text.split()) <= one.bucket and one.bleu < 50
        assert one.bucket == 8 or (one.kind == "whole" and one.tokens > one.bucket // 2)
        assert one.text in held if one.kind == "whole" else any(one.text in text for text in held)
        # what is said to be nearest is a training text, and BLEU is of the two
        assert any(one.nearest in text for text in train)
        assert one.bleu == pytest.approx(sentence_bleu([one.nearest], [one.text])[0], abs=0.01)
    assert len({one.text for one in found}) == 45


def test_whole_texts_come_first_and_sentences_fill(texts, tmp_path):
    train, held = texts
    found = draw_texts(candidates(held, tokens, {}), train, Bags(), crops=Crops(), count=60, cache_dir=tmp_path)
    short = [one.kind for one in found if one.bucket == 8]
    assert short == ["whole"] * short.count("whole") + ["sentence"] * short.count("sentence") and len(set(short)) == 2


def test_what_stands_in_a_training_text_is_not_drawn(texts, tmp_path):
    train, held = texts
    known = [f"It began, {text[:-1].lower()}. Then all was over." for text in held[:4]]
    near = [text.replace(text.split()[0], "Bricks") for text in held[16:20]]
    wanted = candidates(held, tokens, {})
    found = draw_texts(wanted, [*train, *known, *near], Bags(), crops=Crops(), count=300, cache_dir=tmp_path)
    drawn = {one.text for one in found}
    assert not drawn & {*held[:4], *held[16:20]}
    without = {one.text for one in draw_texts(wanted, train, Bags(), crops=Crops(), count=300, cache_dir=tmp_path)}
    assert {*held[:4], *held[16:20]} <= without


def test_the_same_seed_draws_the_same_texts(texts, tmp_path):
    train, held = texts
    a, b, c = (
        draw_texts(candidates(held, tokens, {}), train, Bags(), crops=Crops(), count=9, seed=s, cache_dir=tmp_path)
        for s in (0, 0, 1)
    )
    assert a == b != c


def test_texts_are_named_by_where_they_stand():
    (one,) = candidates(["A short one here."], tokens, {"A short one here.": "web 1"})
    assert one.source == "web 1" and one.kind == "whole" and one.bucket == 8
    names = [one.source for one in candidates(["One two three four. Five six seven eight nine."], tokens, {})]
    assert len(names) == 3 and len(set(names)) == 1


def test_a_sentence_has_no_half_of_a_pair_of_quotes():
    (_, first, last) = candidates(['"Come in out of the rain. Sit down by the fire, both."'], tokens, {})
    assert (first.text, last.text) == ("Come in out of the rain.", "Sit down by the fire, both.")


def test_the_rows_are_split_as_in_training(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(f"Text {i} of the file, with clause {i}." for i in range(50)))
    given = {"data": str(path), "validation": 0.2, "crops": ["whole", "clauses"], "crop_min_words": 2, "split_seed": 3}
    # what a model's card says of its recipe
    recipe = parse(given).settings()
    rows = split_rows(recipe)
    assert set(trained_on(recipe)) == set(
        load_texts(path, validation=0.2, crops=given["crops"], crop_words=(2, 32), seed=3).train
    )
    cut = load_texts(path, validation=0.2, crops="whole,clauses", seed=3)
    assert set(rows.train) < set(cut.train) and set(rows.validation) <= set(cut.validation)


def test_a_damaged_file_is_refused(tmp_path):
    assert read_held_out(tmp_path) == []
    (tmp_path / held_out_file.FILE).write_text(json.dumps({"text": "x"}) + "\n")
    with pytest.raises(UsageError, match="damaged"):
        read_held_out(tmp_path)


def test_too_few_texts_are_refused(tmp_path):
    with pytest.raises(UsageError, match="count=2"):
        held_out_file.write_held_out(tmp_path, count=2)


def test_sentence_bleu_of_short_texts():
    assert sentence_bleu(["he wept", "a b c d e"], ["he wept", "v w x y z"]) == [pytest.approx(100), 0.0]
