"""What is cut out of texts, and on which side of the split it stands."""

import pytest

from unmask.core.errors import UsageError
from unmask.data.crops import KINDS, Crops, cut
from unmask.data.sentences import words
from unmask.data.text import load_texts

VERSE = "The king rose early, took his staff, and went out. No one saw him go. At noon he came to the wide river."


def test_each_kind_is_cut_out_once():
    found = Crops(KINDS, 3, 40).of(VERSE)
    by_kind = {kind: [crop for k, crop in found if k == kind] for kind in KINDS}
    assert by_kind["whole"] == [VERSE]
    assert by_kind["sentences"][1] == "No one saw him go."
    assert by_kind["clauses"] == ["The king rose early", "took his staff", "and went out."]
    assert by_kind["windows"] == [
        "The king rose early, took his staff, and went out. No one saw him go.",
        "No one saw him go. At noon he came to the wide river.",
    ]
    assert by_kind["runs"] == ["The king rose early, took his staff", "took his staff, and went out."]
    assert len({crop for _, crop in found}) == len(found)


def test_crops_keep_to_their_bounds_and_the_text():
    for kind, crop in Crops(KINDS, 4, 9).of(VERSE):
        assert 4 <= len(crop.split()) <= 9, kind
        assert " ".join(words(crop)) in " ".join(words(VERSE))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("paragraphs",), "paragraphs"),
        (("clause",), "clauses"),
        (("whole", "whole"), "each once"),
    ],
)
def test_unknown_kinds_are_refused_by_name(given, says):
    with pytest.raises(UsageError, match=says):
        Crops(given)


def test_bounds_that_leave_nothing_are_refused():
    with pytest.raises(UsageError, match="crop_min_words=9 and crop_max_words=3"):
        Crops(("whole",), 9, 3)


def corpus(count: int) -> list[str]:
    """Texts of two sentences; each word is made of the text's number, so that no two texts share any."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    found = []
    for i in range(count):
        own = [f"{letters[j]}{letters[i // 26]}{letters[i % 26]}" for j in range(14)]
        found.append(f"{' '.join(own[:7]).capitalize()}, {own[7]} {own[8]}. {' '.join(own[9:]).capitalize()}.")
    return found


def test_no_crop_of_a_held_out_text_is_trained_on(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(corpus(60)))
    kinds = "whole, sentences, clauses, windows, runs"
    crops = Crops.read(kinds)
    assert crops is not None and Crops.read("none") is None
    plain = load_texts(path, validation=0.2)
    data = load_texts(path, validation=0.2, crops=kinds)
    train, held = set(data.train), set(plain.validation)
    assert set(plain.train) <= train and len(train) == len(data.train) > len(plain.train)
    for text in held:
        assert not train & {crop for _, crop in crops.of(text)}
    assert held <= set(data.validation)
    again = load_texts(path, validation=0.2, crops=kinds)
    assert list(again.train) == list(data.train) and again.fingerprint == data.fingerprint != plain.fingerprint


def test_the_report_counts_crops_and_near_duplicates(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(corpus(60)))
    held = load_texts(path, validation=0.2).validation[0]
    near = held.upper().replace(".", "!") + " INDEED"
    path.write_text("\n".join([*corpus(60), near]))
    seeds = [
        s for s in range(9) if held in (d := load_texts(path, validation=0.2, seed=s)).validation and near in d.train
    ]
    report = load_texts(path, validation=0.2, seed=seeds[0], crops="whole,clauses", near_duplicates=0.5).report
    assert report.near_duplicates == 1 and "1 near-duplicates" in str(report)
    assert sum(report.crops.values()) > report.train and f"{report.crops['clauses']:,} clauses" in str(report)
    assert report.train + report.validation + report.duplicates + report.near_duplicates == report.read == 61


def test_a_held_out_crop_that_is_trained_on_is_left_out():
    made = cut(["He went home. They all sat down."], ["They all sat down! Then it rained again."], Crops(), None)
    assert "Then it rained again." in made.validation
    assert "They all sat down!" not in made.validation and made.repeated == 1
    kept = cut(["He went home. They all sat down."], ["They all sat down! Then it rained again."], Crops(), 0.5)
    assert "They all sat down." not in kept.train and kept.near_duplicate_crops == 1
    assert "They all sat down!" in kept.validation


def test_pairs_have_no_crops(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(f'{{"a": "source {i}", "b": "target {i}"}}' for i in range(9)))
    with pytest.raises(UsageError, match="pairs"):
        load_texts(path, column=["a", "b"], validation=0.2, crops="whole")
    with pytest.raises(UsageError, match="near_duplicates=1.5"):
        load_texts(path, column="a", validation=0.2, near_duplicates=1.5)
