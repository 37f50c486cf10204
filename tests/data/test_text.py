"""Reading, judging and splitting rows."""

import json

import numpy as np
import pytest

from unmask.core.errors import UsageError
from unmask.data.text import Texts, load_texts


def lines(count: int) -> list[str]:
    return [f"sentence number {i} of the file" for i in range(count)]


@pytest.fixture
def dirty(tmp_path):
    """A file with one of every fault."""
    path = tmp_path / "dirty.txt"
    rows = [b"\xef\xbb\xbffirst", b"second\r", b"", b"   ", b"caf\xe9", b"bell\x07 rings", b"first", b"x" * 50, b"last"]
    path.write_bytes(b"\n".join(rows))
    return path


def test_every_fault_is_counted_once_and_nothing_else_is_lost(dirty):
    data = load_texts(dirty, validation=0.0, max_chars=40)
    assert list(data.train) == ["first", "second", "bell rings", "last"]
    report = data.report
    assert (report.read, report.kept, report.empty, report.over_long) == (9, 4, 2, 1)
    assert (report.not_utf8, report.duplicates, report.control, report.malformed) == (1, 1, 1, 0)
    assert "\n" not in str(report) and "1 not-utf8" in str(report) and "1 duplicates" in str(report)


def test_counts_add_up_to_the_rows_read(dirty):
    r = load_texts(dirty, validation=0.3, max_chars=40).report
    assert r.train + r.validation + r.empty + r.over_long + r.not_utf8 + r.malformed + r.duplicates == r.read


def test_jsonl_with_broken_lines_null_and_lone_surrogates(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [
        '{"text": "good"}',
        "{oops",
        '{"text": null}',
        '{"other": "x"}',
        "[1]",
        '{"text": "\\ud800"}',
        '{"text": 3}',
        "",
    ]
    path.write_text("\n".join([*rows, '{"text": "emoji \\ud83d\\ude00"}']))
    data = load_texts(path, validation=0.0)
    assert list(data.train) == ["good", "emoji 😀"]
    assert (data.report.malformed, data.report.not_utf8, data.report.empty) == (5, 1, 1)


def test_csv_keeps_line_breaks_inside_quotes(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b'id,text\n1,"two\nlines"\n2,plain\n3\n4,nul\x00here\n5,\xff\n')
    data = load_texts(path, validation=0.0)
    assert list(data.train) == ["two\nlines", "plain", "nulhere"]
    assert (data.report.malformed, data.report.control, data.report.not_utf8) == (1, 1, 1)


def test_pairs_from_two_columns(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"hard": f"utilise {i}", "easy": f"use {i}"}) + "\n" for i in range(50)))
    data = load_texts(path, column=("hard", "easy"), validation=0.2)
    assert data.train_pairs is not None and data.validation_pairs is not None
    for source, target in [*data.train_pairs, *data.validation_pairs]:
        assert source.split()[1] == target.split()[1]
    assert list(data.train) == list(data.train_pairs.targets)
    assert data.train_pairs[0] == (data.train_pairs.sources[0], data.train_pairs.targets[0])
    assert len(data.train_pairs[:3]) == 3


@pytest.mark.parametrize("form", ["saved", "saved-dict", "parquet", "one-parquet", "jsonl", "csv", "txt"])
def test_every_form_of_the_same_rows_gives_the_same_split(tmp_path, form, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    rows = lines(300)
    table = datasets.Dataset.from_dict({"text": rows})
    where = tmp_path / form
    if form == "saved":
        table.save_to_disk(str(where))
    elif form == "saved-dict":
        datasets.DatasetDict({"train": table}).save_to_disk(str(where))
    elif form == "parquet":
        where.mkdir()
        table.to_parquet(str(where / "train-0.parquet"))
    elif form == "one-parquet":
        where = tmp_path / "one.parquet"
        table.to_parquet(str(where))
    else:
        where = tmp_path / f"rows.{form}"
        text = {
            "jsonl": "\n".join(json.dumps({"text": r}) for r in rows),
            "csv": "text\n" + "\n".join(rows),
            "txt": "\n".join(rows),
        }
        where.write_text(text[form])
    data = load_texts(where, validation=0.1, seed=3)
    (tmp_path / "again.txt").write_text("\n".join(reversed(rows)))
    again = load_texts(tmp_path / "again.txt", validation=0.1, seed=3)
    assert set(data.validation) == set(again.validation) and set(data.train) == set(again.train)
    assert 10 <= len(data.validation) <= 60
    if form != "csv":
        assert isinstance(data.train, Texts), "a source on disk must not become a list"
        assert list(data.train[5:8]) == [data.train[i] for i in (5, 6, 7)]
        assert data.train[-1] == list(data.train)[-1]


def test_a_split_by_name_leaves_out_training_texts(tmp_path):
    import datasets

    parts = {"train": ["a b", "c d", "e f"], "test": ["c d", "g h"]}
    datasets.DatasetDict({k: datasets.Dataset.from_dict({"text": v}) for k, v in parts.items()}).save_to_disk(
        str(tmp_path / "d")
    )
    data = load_texts(tmp_path / "d", validation="test")
    assert (list(data.train), list(data.validation)) == (["a b", "c d", "e f"], ["g h"])
    with pytest.raises(UsageError, match="did you mean 'test'"):
        load_texts(tmp_path / "d", validation="tset")


def test_another_seed_is_another_split_and_the_fraction_is_kept(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("\n".join(lines(4000)))
    held = [set(load_texts(path, validation=0.1, seed=s).validation) for s in (0, 1)]
    assert len(held[0] & held[1]) < 100
    sigma = np.sqrt(4000 * 0.1 * 0.9)
    assert all(abs(len(h) - 400) < 5 * sigma for h in held)


def test_a_few_rows_still_give_both_sides(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("one\ntwo\nthree")
    for seed in range(5):
        for fraction in (0.001, 0.999):
            report = load_texts(path, validation=fraction, seed=seed).report
            assert report.train >= 1 and report.validation >= 1 and report.kept == 3


def test_limit_draws_rows_and_is_reproducible(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("\n".join(lines(500)))
    first, second = (load_texts(path, limit=40, validation=0.0, seed=7) for _ in range(2))
    assert first.report.read == 40 and list(first.train) == list(second.train)
    assert list(first.train) != lines(500)[:40]


def test_no_held_out_verse_was_seen_in_any_translation():
    """A model trained on verses, then on pairs, is tested on texts it never saw in either."""
    seen, held = set(), set()
    for name in ("verses", "kjv-web"):
        data = load_texts(name)
        seen |= set(data.train) | set(data.train_pairs.sources if data.train_pairs else ())
        held |= set(data.validation) | set(data.validation_pairs.sources if data.validation_pairs else ())
    assert len(held) > 1000 and not seen & held


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"source": "missing.txt"}, "there is no file"),
        ({"source": "vreses"}, "did you mean 'verses'"),
        ({"source": "verses", "validation": 1.0}, r"\[0, 1\)"),
        ({"source": "verses", "limit": 0}, "at least 1"),
        ({"source": "verses", "column": ["a", "b", "c"]}, "two for pairs"),
    ],
)
def test_wrong_use_is_one_sentence(settings, says):
    with pytest.raises(UsageError, match=says) as error:
        load_texts(**settings)
    assert "\n" not in str(error.value)


def test_a_wrong_column_names_those_that_exist(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("title,body\nx,y\n")
    with pytest.raises(UsageError, match="title, body"):
        load_texts(path)
    with pytest.raises(UsageError, match="did you mean 'body'"):
        load_texts(path, column="bodi")


def test_a_file_without_text_says_so(tmp_path):
    (tmp_path / "empty.txt").write_bytes(b"")
    with pytest.raises(UsageError, match="no usable text"):
        load_texts(tmp_path / "empty.txt")


def test_a_damaged_saved_dataset_is_named(tmp_path):
    import datasets

    datasets.Dataset.from_dict({"text": [f"line {i}" for i in range(50)]}).save_to_disk(str(tmp_path / "saved"))
    (arrow,) = (tmp_path / "saved").glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:100])
    with pytest.raises(UsageError, match="cannot be read as a saved dataset"):
        load_texts(tmp_path / "saved")
