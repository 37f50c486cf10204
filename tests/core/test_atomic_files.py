"""A file is whole, the old one or the new one, whatever happens while it is written."""

import hashlib
import json
import threading

import pytest

from unmask.core.files import replacing, sha256, write_json, write_text


def test_replacing_leaves_the_old_file_after_an_error(tmp_path):
    file = write_text(tmp_path / "a" / "x.npy", "old")
    with pytest.raises(KeyboardInterrupt), replacing(file) as partial:
        partial.write_text("ne")
        assert partial.suffix == ".npy" and partial.parent == file.parent
        raise KeyboardInterrupt
    assert file.read_text() == "old" and [p.name for p in file.parent.iterdir()] == ["x.npy"]
    with pytest.raises(FileNotFoundError), replacing(file):
        pass  # nothing was written
    assert file.read_text() == "old"
    with replacing(file) as partial:
        partial.write_text("new")
        assert file.read_text() == "old"
    assert file.read_text() == "new" and [p.name for p in file.parent.iterdir()] == ["x.npy"]


def test_replacing_lets_two_writers_of_one_file_each_finish(tmp_path):
    file = tmp_path / "x.json"

    def write(number):
        for _ in range(20):
            write_json(file, [number] * 2000)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = json.loads(file.read_text())
    assert found in [[i] * 2000 for i in range(4)] and [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_write_json_is_text_that_people_read(tmp_path):
    text = write_json(tmp_path / "x.json", {"ä": [1]}).read_text(encoding="utf-8")
    assert text == '{\n  "ä": [\n    1\n  ]\n}\n'


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(bytes(range(256)) * 9000)
    assert sha256(tmp_path / "x") == hashlib.sha256(bytes(range(256)) * 9000).hexdigest()
