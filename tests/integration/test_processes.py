"""Two processes do what one does: the same curve, samples, scores and findings, and the first one alone writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unmask.training.base_trainer import SHARDS_ON_CPUS

HERE = Path(__file__).parent
TELLING = os.environ | {"PYTHONFAULTHANDLER": "1"}  # an abort says where
WORDS = "light darkness water earth heaven day night field seed tree".split()


def texts(path):
    g = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, 10, (int(torch.randint(2, 6, (1,), generator=g)),), generator=g) for _ in range(400)]
    path.write_text("\n".join(" ".join(WORDS[int(i)] for i in row) for row in rows), encoding="utf-8")
    return path


def launched(root, *how):
    """What one process and what two saw; 8 rows a step either way."""
    lines = texts(root / "texts.txt")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    found = []
    for start, rows in (([sys.executable], 8), (torchrun, 4)):
        folder = root / str(rows)
        folder.mkdir()
        words = [*start, str(HERE / "launched.py"), str(folder), str(lines), str(rows)]
        if rows == 4 and not how:
            subprocess.run([*words, "cut"], capture_output=True, timeout=300, env=TELLING)
        ended = subprocess.run([*words, *how], capture_output=True, text=True, timeout=300, env=TELLING)
        assert ended.returncode == 0, "\n".join((ended.stderr[:5000], ended.stderr[-1000:]))
        found.append(json.loads((folder / "seen.json").read_text()) | {"folder": folder, "said": ended.stdout})
    assert [f["processes"] for f in found] == [1, 2]
    return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    return launched(tmp_path_factory.mktemp("launches"))


def close(a, b):
    gaps = [abs(x - y) for x, y in zip(a, b, strict=True)]
    print(f"loss curves of {len(gaps)} steps differ by {max(gaps):.1e} at most, {sum(gaps) / len(gaps):.1e} on average")
    return max(gaps) < 2e-5 and sum(gaps) / len(gaps) < 5e-6


def test_two_processes_train_what_one_does(tmp_path):
    """The part that `make test` runs; the others take a minute or two."""
    one, two = launched(tmp_path, "brief")
    assert close(one["copies"]["losses"], two["copies"]["losses"])
    assert two["copies"]["weights"] == pytest.approx(one["copies"]["weights"] * 2, rel=1e-5)


sharding = pytest.mark.skipif(not SHARDS_ON_CPUS, reason="this PyTorch cannot shard on CPUs")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["copies", pytest.param("sharded", marks=sharding)])
def test_the_loss_curve_is_the_one_of_a_single_process(seen, way):
    one, two = seen
    assert close(one["copies"]["losses"], two[way]["losses"])
    assert one["copies"]["losses"][-1] < one["copies"]["losses"][0] - 0.5
    # every process holds the weights that were saved
    assert two[way]["weights"] == pytest.approx(one["copies"]["weights"] * 2, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["norms", "norms by tokens"])
def test_the_gradient_does_not_depend_on_the_split(seen, which):
    whole = seen[0][which]["1"]
    assert len(whole) == 2 and min(whole) > 1e-3
    for found in seen:
        for micros, norms in found[which].items():
            assert norms == pytest.approx(whole, rel=1e-4), (found["processes"], micros)


@pytest.mark.slow
@sharding
def test_sharded_training_went_on_from_its_last_checkpoint(seen):
    assert seen[1]["cut at"] == ["checkpoint-5"]
    assert "resuming from" in seen[1]["said"]


@pytest.mark.slow
def test_latents_are_encoded_once_and_everyone_has_all(seen):
    one, two = (f["latents"] for f in seen)
    assert sum(two["encoded"]) == one["encoded"][0] and max(two["encoded"]) < one["encoded"][0]
    assert one["right"] == [True] and two["right"] == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["texts", "replayed", "findings"])
def test_results_do_not_depend_on_the_processes(seen, what):
    assert seen[0][what] == seen[1][what]


@pytest.mark.slow
def test_scores_do_not_depend_on_the_processes(seen):
    assert seen[0]["metrics"].keys() == seen[1]["metrics"].keys()
    for name, value in seen[0]["metrics"].items():
        assert seen[1]["metrics"][name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


@pytest.mark.slow
def test_the_first_process_alone_speaks_and_writes(seen):
    for found in seen:
        assert found["said"].count(f"saved {found['folder'] / 'copies'}") == 1
    assert not list(seen[1]["folder"].rglob("*.partial*"))
