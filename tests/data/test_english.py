"""The corpus of English sentences: what is a sentence, and how it is built and read."""

import gzip
import json

import pytest

from unmask.core.errors import UsageError
from unmask.data import build_english, english
from unmask.data.english_sources import SOURCES, ProseSource
from unmask.data.text import load_texts


@pytest.mark.parametrize(
    "text",
    [
        "The sea was calm.",
        "\u201cWhere is he?\u201d said Anne.",
        "It cost them all of 200 dollars.",
        "He left (so they say) at night.",
    ],
)
def test_plain_sentences_are_usable(text):
    assert build_english.usable(text)


@pytest.mark.parametrize(
    "text",
    [
        "no capital here.",
        "No mark at the end",
        "See Romans 3:15 and think.",
        "It rose by 12.5 to 348.2 in 1990 and 1991.",
        "Write <b>this</b> down now.",
        "The {bang path} was long.",
        "SHOUTING WORDS are not wanted here.",
        "He said (and left it open.",
        'If you go," said he, "I will follow you.',
        "Too short.",
        " ".join(["Long", *["words"] * 40]) + ".",
    ],
)
def test_what_is_no_plain_sentence_is_not(text):
    assert build_english.usable(text) is None


def test_a_gloss_needs_neither_capital_nor_full_stop():
    assert build_english.usable("a small boat for two", prose=False) == "a small boat for two"


def test_names_behind_a_quotation_and_stray_spaces_go():
    assert build_english.usable("All men are mortal. \u2014Thomas Goodwin.") == "All men are mortal."
    assert build_english.usable("How soon it ends !") == "How soon it ends!"


def small(tmp_path, name: str, text: str, whole: bool = False) -> ProseSource:
    return ProseSource(name, "npm", name, "public domain", name, lambda folder: iter([(f"{name} 1", text)]), whole)


def test_build_writes_sorted_lines_and_a_manifest(tmp_path, monkeypatch):
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path))
    long = " ".join(f"Number {word} came home late." for word in "one two three four five six seven eight".split())
    sources = [
        small(tmp_path, "b", long + " It rained all day."),
        small(tmp_path, "a", "It rained, all day! We slept well."),
    ]
    made = build_english.build(english.folder(), sources, fetch=lambda source, place: place, say=lambda line: None)
    assert made["sentences"] == 10 and [s["sentences"] for s in made["sources"]] == [9, 1]
    assert json.loads((tmp_path / "english" / "manifest.json").read_text()) == made
    with gzip.open(tmp_path / "english" / "english.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    assert [row["source"] for row in rows] == ["a", *["b"] * 9] and rows[0]["text"] == "We slept well."
    again = build_english.build(tmp_path / "two", sources, fetch=lambda source, place: place, say=lambda line: None)
    assert again == made
    data = load_texts("english", validation=0.5, near_duplicates=0.5)
    assert data.report.kept == 10 and len(data.train) + len(data.validation) == 10


def test_sentences_of_a_paragraph_are_held_out_together(tmp_path):
    keys = {english.Sentence(text, "a", "7 0").key for text in ("One.", "Two.")}
    assert len(keys) == 1 and english.Sentence("One.", "a", "7 1").key not in keys


def test_english_that_is_not_built_says_how(tmp_path, monkeypatch):
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match="python -m unmask.data.build_english"):
        load_texts("english")
    place = tmp_path / "english" / "english.jsonl.gz"
    place.parent.mkdir()
    place.write_bytes(b"no gzip")
    with pytest.raises(UsageError, match="damaged"):
        load_texts("english")


def test_a_source_without_a_sentence_is_refused(tmp_path):
    with pytest.raises(UsageError, match="gave no sentence"):
        build_english.build(tmp_path, [small(tmp_path, "a", "nothing")], fetch=lambda s, p: p, say=lambda line: None)


def test_unknown_sources_are_refused(capsys):
    assert build_english.main(["--only", "austin"]) == 2
    assert "austen" in capsys.readouterr().err


def test_every_source_says_its_licence():
    assert len({s.name for s in SOURCES}) == len(SOURCES)
    assert all(("public domain" in s.licence or "WordNet" in s.licence) and s.client in ("apt", "npm") for s in SOURCES)
