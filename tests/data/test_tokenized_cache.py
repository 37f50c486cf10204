"""Canvases on disk are those in memory, are made once, and never read half-made."""

import json

import numpy as np
import pytest

from unmask.data import tokenized_cache
from unmask.data.text import load_texts
from unmask.data.tokenized_cache import stored_canvases
from unmask.data.tokenizer import encode_fixed, train_bpe

TEXTS = [" ".join("abcde"[(i * j) % 5] for j in range(1, 2 + i % 9)) for i in range(60)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 300)


def on_disk(tokenizer, folder, **changed):
    settings = dict(over_long="drop", fingerprint="mine", folder=folder, in_memory=0)
    return stored_canvases(tokenizer, TEXTS, 8, **{**settings, **changed})


def test_what_lies_on_disk_is_what_memory_would_hold(tokenizer, tmp_path):
    found, truth = on_disk(tokenizer, tmp_path), encode_fixed(tokenizer, TEXTS, 8, over_long="drop")
    assert isinstance(found.ids, np.memmap) and found.over_long == truth.over_long > 0
    for name in ("ids", "lengths", "rows"):
        np.testing.assert_array_equal(getattr(found, name), getattr(truth, name))
    assert not list(tmp_path.glob("*.partial*"))


def test_a_second_start_reads_what_is_stored(tokenizer, tmp_path, monkeypatch):
    on_disk(tokenizer, tmp_path)
    calls = []
    real = tokenized_cache.encode_fixed
    monkeypatch.setattr(tokenized_cache, "encode_fixed", lambda *a, **k: calls.append(k) or real(*a, **k))
    on_disk(tokenizer, tmp_path)
    assert not calls
    on_disk(tokenizer, tmp_path, fingerprint="other")
    on_disk(tokenizer, tmp_path, over_long="truncate")
    on_disk(train_bpe(TEXTS[:7], 280), tmp_path)
    assert len(calls) == 3


def test_what_was_left_half_made_is_not_read(tokenizer, tmp_path):
    on_disk(tokenizer, tmp_path)
    (stamp,) = tmp_path.glob("*.json")
    stamp.unlink()  # killed before the last write
    (tmp_path / f"{stamp.stem}.ids.npy").write_bytes(b"half")
    again = on_disk(tokenizer, tmp_path)
    np.testing.assert_array_equal(again.ids, encode_fixed(tokenizer, TEXTS, 8, over_long="drop").ids)
    assert json.loads(stamp.read_text())["rows"] == len(again)


def test_the_fingerprint_sees_every_text(tmp_path):
    marks = set()
    for change in (None, 3, 57):
        file = tmp_path / "x.txt"
        file.write_text("\n".join(f"{t} {i} {'!' * (i == change)}" for i, t in enumerate(TEXTS)))
        marks.add(load_texts(file).fingerprint)
    assert len(marks) == 3


def test_long_indices_lie_in_a_file_and_say_the_same(tmp_path, monkeypatch):
    from unmask.data import memmap

    file = tmp_path / "x.txt"
    file.write_text("\n".join(["same", "", *(f"text {i}" for i in range(500))] * 2))
    small = load_texts(file)
    monkeypatch.setattr(memmap, "IN_MEMORY", 10)
    large = load_texts(file)
    assert isinstance(large.train._numbers, np.memmap) and not isinstance(small.train._numbers, np.memmap)
    assert (list(large.train), list(large.validation)) == (list(small.train), list(small.validation))
    assert large.report == small.report and large.report.duplicates == 501 and large.report.empty == 2
