"""A package that lacks a family works with the others: nothing but the command of its own needs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import unmask
from unmask.core.family import families

TESTS = Path(__file__).parents[1]
PACKAGE = Path(unmask.__file__).parent


def linked(root: Path, without: str) -> Path:
    """The package as links, but for one family."""
    own = root / "unmask"
    (own / "families").mkdir(parents=True)
    for path in PACKAGE.iterdir():
        if path.name not in ("families", "__pycache__"):
            (own / path.name).symlink_to(path)
    for path in (PACKAGE / "families").iterdir():
        if path.stem not in (without, "__pycache__"):
            (own / "families" / path.name).symlink_to(path)
    return root


@pytest.mark.parametrize(
    "name", [*(pytest.param(n, marks=pytest.mark.slow) for n in ("causal", "masked", "tidal")), "puzzle"]
)
def test_the_others_work_without(name: str, tmp_path: Path) -> None:
    source = linked(tmp_path / "src", name)
    (tmp_path / "models").mkdir()
    paths = os.pathsep.join([str(source), str(TESTS / "helpers")])
    done = subprocess.run(
        [sys.executable, str(TESTS / "families/smoke.py"), str(tmp_path / "models")],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    tried = {line.split(":")[0] for line in done.stdout.splitlines() if line.split(":")[0] in families}
    assert tried == set(families) - {name}


def test_the_package_has_no_other_families() -> None:
    assert set(families) == {"causal", "masked", "puzzle", "tidal"}
