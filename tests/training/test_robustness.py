"""A short slice of benchmarks/robustness.py: real processes killed, files damaged, input fuzzed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "robustness.py"


@pytest.mark.parametrize(
    ("only", "amount"),
    [
        # test_kill.py kills one on every run
        pytest.param("killed training", ["--kills", "2"], marks=pytest.mark.slow),
        ("damaged", ["--flips", "15"]),
        ("fuzzed", ["--fuzz", "25"]),
    ],
)
def test_nothing_is_lost(only, amount):
    words = [sys.executable, str(SCRIPT), "--only", only, *amount, "--seed", "5"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["lost"] == 0 and found["survived"] >= 2
