"""The cache of latents: right rows, nothing twice, nothing lost when a process dies."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from unmask.core.errors import UsageError
from unmask.core.files import cache_root
from unmask.data.latents import cached_latents

WIDTH = 6


def vector(text: str) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:WIDTH], np.uint8).astype(np.float32) / 255


class Hashing:
    """An encoder whose answer is known for any text, and which remembers what it was asked."""

    width = WIDTH

    def __init__(self, identity: str = "hashing", precision: str = "fp32") -> None:
        self.identity, self.precision = identity, precision
        self.asked: list[str] = []

    def encode(self, texts, batch_size=64, progress=False):
        self.asked += texts
        return np.stack([vector(text) for text in texts])


def texts(count: int) -> list[str]:
    return [f"text {i} " + "word " * (i * 7 % 13) for i in range(count)]


def expected(rows: list[str]) -> np.ndarray:
    return np.stack([vector(text) for text in rows])


def get(rows, encoder, folder, **settings):
    return cached_latents(rows, encoder, folder, progress=False, **settings)


def test_rows_follow_the_texts_and_duplicates_are_encoded_once(tmp_path):
    rows = texts(100) + texts(30)[::-1]
    encoder = Hashing()
    latents = get(rows, encoder, tmp_path, shard_rows=16, batch_size=3)
    assert latents.shape == (130, WIDTH) and len(latents) == 130 and latents.dtype == np.float32
    np.testing.assert_array_equal(latents[:], expected(rows))
    assert sorted(encoder.asked) == sorted(set(rows))


def test_indexing_is_that_of_an_array(tmp_path):
    rows = texts(50)
    latents, truth = get(rows, Hashing(), tmp_path, shard_rows=8), expected(rows)
    some = np.array([49, 0, 7, 7, 30])
    np.testing.assert_array_equal(latents[some], truth[some])
    np.testing.assert_array_equal(latents[-1], truth[-1])
    np.testing.assert_array_equal(latents[10:40:3], truth[10:40:3])
    np.testing.assert_array_equal(np.asarray(latents), truth)
    np.testing.assert_array_equal(np.stack(list(latents)), truth)
    with pytest.raises(IndexError):
        latents[50]


def test_a_second_call_encodes_only_what_is_new_in_any_order(tmp_path):
    get(texts(40), Hashing(), tmp_path, shard_rows=8)
    encoder = Hashing()
    rows = texts(60)[::-1]
    np.testing.assert_array_equal(get(rows, encoder, tmp_path)[:], expected(rows))
    assert sorted(encoder.asked) == sorted(texts(60)[40:])


@pytest.mark.parametrize("other", [Hashing("another"), Hashing(precision="bf16")])
def test_another_identity_or_precision_shares_nothing(tmp_path, other):
    get(texts(5), Hashing(), tmp_path)
    get(texts(5), other, tmp_path)
    assert sorted(other.asked) == sorted(texts(5))


def test_half_precision_is_stored_and_close(tmp_path):
    latents = get(texts(20), Hashing(), tmp_path, dtype="float16")
    assert latents[:].dtype == np.float16
    np.testing.assert_allclose(latents[:].astype(np.float32), expected(texts(20)), atol=5e-4)


@pytest.mark.parametrize("damage", ["vectors cut", "keys cut", "no json", "json cut", "vectors gone"])
def test_a_damaged_shard_is_made_again_and_the_others_are_kept(tmp_path, damage):
    rows = texts(40)
    get(rows, Hashing(), tmp_path, shard_rows=10)
    index = sorted(tmp_path.rglob("*.json"))[0]
    suffix = {"v": ".npy", "k": ".keys.npy", "n": ".json", "j": ".json"}[damage[0]]
    file = index.with_suffix(suffix)
    if damage in ("no json", "vectors gone"):
        file.unlink()
    else:
        os.truncate(file, file.stat().st_size // 2)
    encoder = Hashing()
    np.testing.assert_array_equal(get(rows, encoder, tmp_path, shard_rows=10)[:], expected(rows))
    assert len(encoder.asked) == 10


DYING = """
import sys, time
sys.path.insert(0, {tests!r})
from test_latents import Hashing, get, texts

class Slow(Hashing):
    def encode(self, rows, batch_size=64, progress=False):
        time.sleep(0.02)
        return super().encode(rows)

get(texts(4000), Slow(), {folder!r}, shard_rows=20)
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    code = DYING.format(tests=os.path.dirname(__file__), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.rglob("[!.]*.json"))) < 3:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    shards = len(list(tmp_path.rglob("[!.]*.json")))
    encoder = Hashing()
    rows = texts(4000)
    np.testing.assert_array_equal(get(rows, encoder, tmp_path)[:], expected(rows))
    assert shards >= 3 and len(encoder.asked) == 4000 - 20 * shards


def test_an_encoder_that_breaks_its_word_leaves_nothing_behind(tmp_path):
    class Wide(Hashing):
        width = WIDTH + 1

    class Broken(Hashing):
        def encode(self, texts, batch_size=64, progress=False):
            return np.full((len(texts), WIDTH), np.nan, np.float32)

    with pytest.raises(UsageError, match="width of 7"):
        get(texts(3), Wide(), tmp_path)
    with pytest.raises(UsageError, match="not finite"):
        get(texts(3), Broken(), tmp_path)
    assert not list(tmp_path.rglob("*.npy"))


def test_no_texts_and_wrong_settings(tmp_path):
    assert get([], Hashing(), tmp_path).shape == (0, WIDTH)
    with pytest.raises(UsageError, match="float32, float16"):
        get(texts(2), Hashing(), tmp_path, dtype="bf16")
    with pytest.raises(UsageError, match="at least 1"):
        get(texts(2), Hashing(), tmp_path, batch_size=0)


def test_the_cache_lies_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "there"))
    cached_latents(texts(2), Hashing(), progress=False)
    assert list((tmp_path / "there" / "latents").rglob("*.npy"))
    assert cache_root(tmp_path) == tmp_path
