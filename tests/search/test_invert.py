"""Texts for vectors, into a file: whole, resumed, and refused."""

import csv
import json

import pytest
import torch

import search_toy as toy
import unmask
from unmask.core.errors import UsageError
from unmask.core.sampling_config import SamplingConfig
from unmask.search import lexicons

TEXTS = [
    "Anna sees the old bridge.",
    "Felix paints a grey sparrow.",
    "Clara follows the river.",
    "Emma likes a lantern.",
]


@pytest.fixture(autouse=True)
def known_words(monkeypatch):
    monkeypatch.setattr("unmask.search.from_vectors.lexicon_of", lambda *_: toy.lexicon())


@pytest.fixture
def z():
    return torch.from_numpy(toy.ToyEncoder().encode(TEXTS))


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_texts_come_back(z):
    out = unmask.invert(toy.model(), z, calls=600, trace=True)
    assert out.texts == TEXTS and all(out.verified) and out.cosine == [1.0] * 4
    assert sum(out.row_calls) == out.calls and out.stopped == ["verified"] * 4
    assert out.trace.rows[0][-1].text == TEXTS[0] and "Felix" in unmask.core.render.page_of(out.trace, output=out)


def test_sample_verifies_what_it_writes(z):
    out = unmask.sample(toy.model(), TEXTS[:2], verify="cosine", calls=600)
    assert out.texts == TEXTS[:2] == out.prompts and out.to_dict()["verified"] == [True, True]


def test_a_file_in_either_format(tmp_path, z):
    unmask.invert(toy.model(), z[:2], calls=600, out=tmp_path / "a.jsonl")
    unmask.invert(toy.model(), z[:2], calls=600, out=tmp_path / "a.csv")
    table = list(csv.DictReader((tmp_path / "a.csv").open(encoding="utf-8")))
    assert [row["text"] for row in rows_of(tmp_path / "a.jsonl")] == TEXTS[:2] == [row["text"] for row in table]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.jsonl"]


def test_a_stopped_run_goes_on(tmp_path, z):
    out, seen = tmp_path / "a.jsonl", []

    def dies(event):
        seen.append(event)
        if hasattr(event, "found"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unmask.invert(toy.model(), z, calls=600, out=out, callback=dies)
    part = next((tmp_path / "a.jsonl.parts").glob("*.jsonl"))
    assert len(rows_of(part)) == 1 and not out.exists()
    done = rows_of(part)[0]["row"]
    part.write_text(part.read_text() + '{"row": 3, "te', encoding="utf-8")  # a process died while it wrote this
    again = []
    rows = unmask.invert(toy.model(), z, calls=600, out=out, callback=lambda e: again.append(e.row))
    assert done not in again and [row["text"] for row in rows] == TEXTS and rows_of(out) == rows
    assert not (tmp_path / "a.jsonl.parts").exists()


def test_what_there_was_no_time_for_is_left(tmp_path, z, monkeypatch):
    monkeypatch.setattr("unmask.search.loop.AT_ONCE", 1)
    with pytest.warns(UserWarning, match="3 of 4 vectors are left"):
        rows = unmask.invert(toy.model(), z, out=tmp_path / "a.csv", seconds=1e-6)
    assert [row["stopped"] for row in rows] == ["seconds"] and not (tmp_path / "a.csv").exists()


def test_a_row_is_the_same_resumed_or_not(tmp_path, z):
    whole = unmask.invert(toy.model(), z, calls=90)
    alone = toy_model().invert(z[2:3], SamplingConfig(verify="cosine", calls=90), rows=[2])
    assert alone.texts == whole.texts[2:3] and alone.row_calls == whole.row_calls[2:3]


def toy_model():
    from unmask.families import adopted

    return adopted(toy.model(), "test")


def test_the_rest_of_another_run_is_refused(tmp_path, z):
    (tmp_path / "a.csv.parts").mkdir()
    (tmp_path / "a.csv.parts" / "about.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="other vectors or settings"):
        unmask.invert(toy.model(), z, out=tmp_path / "a.csv")


@pytest.mark.parametrize("name, why", [("a.txt", ".csv or .jsonl"), ("there.csv", "is there already")])
def test_files_that_are_refused(tmp_path, z, name, why):
    (tmp_path / "there.csv").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match=why):
        unmask.invert(toy.model(), z, out=tmp_path / name)


@pytest.mark.parametrize(
    "settings, why",
    [
        ({"guidance": 2.0}, "guidance=2.0"),
        ({"length": 9}, "length=9"),
        ({"verify": "rules"}, "rules"),
        ({"verify": "cosin"}, "cosine"),
    ],
)
def test_settings_that_a_search_does_not_have(settings, why):
    with pytest.raises(UsageError, match=why):
        unmask.sample(toy.model(), TEXTS[:1], **{"verify": "cosine", **settings})


@pytest.mark.parametrize("setting", [{"calls": 3}, {"forwards": 3}, {"seconds": 1.0}])
def test_a_bound_needs_a_verifier(setting):
    with pytest.raises(UsageError, match=f"{next(iter(setting))}=.*verify"):
        unmask.sample(toy.model(), TEXTS[:1], **setting)


def test_nothing_to_compare_with():
    with pytest.raises(UsageError, match="verify='cosine' needs texts"):
        unmask.sample(toy.model(), n=2, verify="cosine")


def test_the_lexicon_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "cache"))
    made = []
    monkeypatch.setattr(lexicons, "_texts", lambda model: toy.texts())
    monkeypatch.setattr(lexicons, "_made", lambda model, texts: made.append(texts) or toy.lexicon())
    first = lexicons.lexicon_of(toy.model())
    lexicons._KEPT.clear()
    second = lexicons.lexicon_of(toy.model())
    lexicons._KEPT.clear()
    assert len(made) == 1 and first.words == second.words == toy.lexicon().words
    unit = toy.texts()[0]
    assert second.spelling.spell(second.spelling.cut(unit)) == unit


def test_without_training_texts_a_search_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match="words of the training texts"):
        lexicons.lexicon_of(toy.model())
