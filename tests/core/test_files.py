"""A file is the old one or the new one, whatever happens while it is written."""

import hashlib
import os
import threading

import pytest

from unmask.core.files import replacing, sha256, write_json, write_text


def test_an_error_while_writing_leaves_the_old_file_and_no_other(tmp_path):
    file = write_text(tmp_path / "a" / "x.txt", "old")
    with pytest.raises(RuntimeError), replacing(file) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old" and os.listdir(file.parent) == ["x.txt"]
    with replacing(file) as partial:
        partial.write_text("new")
        assert file.read_text() == "old" and partial.suffix == ".txt"
    assert file.read_text() == "new" and os.listdir(file.parent) == ["x.txt"]


def test_two_writers_of_one_name_do_not_disturb_each_other(tmp_path):
    file = tmp_path / "x.json"
    threads = [threading.Thread(target=write_json, args=(file, {"n": [n] * 500})) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert file.read_text().count("\n") == 504 and os.listdir(tmp_path) == ["x.json"]


def test_the_hash_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc" * 10**6)
    assert sha256(tmp_path / "x") == hashlib.sha256(b"abc" * 10**6).hexdigest()
