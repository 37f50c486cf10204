"""Statements then and now: what was renamed or split off is no new module, and both trees are git's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
try:
    import house_since
finally:
    sys.path.remove(str(ROOT / "benchmarks"))

BODY = "".join(f"def f{i}(a):\n    b{i} = a + {i}\n    return b{i} * {i}\n" for i in range(6))
OTHER = "".join(f"def g{i}(a):\n    c{i} = a - {i}\n    return c{i} / {i}\n" for i in range(6))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits: a file is renamed, another split, a third removed, and one is new."""
    root = tmp_path_factory.mktemp("repository")
    src = root / "src" / "unmask"

    def commit(**files: str | None) -> None:
        for name, text in files.items():
            path = src / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink() if text is None else path.write_text(text, encoding="utf-8")
            (src / "__init__.py").touch()
        who = ["-c", "user.name=x", "-c", "user.email=x@x.invalid", "-c", "commit.gpgsign=false"]
        for words in (["add", "-A"], [*who, "commit", "-qm", "more"]):
            subprocess.run(["git", "-C", str(root), *words], check=True)

    subprocess.run(["git", "init", "-q", str(root)], check=True)
    commit(core__old=BODY, data__whole=OTHER + "x = 1\n", models__left="y = 2\nz = 3\n")
    half = len(OTHER) // 2 - len(OTHER) // 2 % (len(OTHER) // 6)
    fresh = '"""What is new. And more."""\nfresh = 7\nanother = fresh + 1\n'
    commit(core__old=None, core__renamed=BODY, data__whole=OTHER[:half] + "x = 1\n", data__part=OTHER[half:],
           models__left=None, models__fresh=fresh)  # fmt: skip
    return root


def test_renamed_and_split_modules_existed_then(repository: Path) -> None:
    told = house_since.page(repository, "HEAD~1", "HEAD").splitlines()
    rows = {cells[0]: cells[1:] for line in told if (cells := [c.strip() for c in line.strip("|").split("|")])[1:]}
    assert rows["core"] == ["18", "0", "18", "+0", "0", "0"]
    assert rows["data"] == ["19", "0", "19", "+0", "0", "0"]
    assert rows["models"] == ["2", "2", "0", "+0", "1", "2"]
    assert rows["**all**"] == ["39", "2", "37", "+0", "1", "2"]
    assert rows["`models/fresh.py`"] == ["2", "What is new. And more."]
    assert not any("part.py" in line or "renamed.py" in line for line in told)


def test_a_tree_is_counted_as_committed(repository: Path) -> None:
    before = house_since.page(repository, "HEAD~1", "HEAD")
    (repository / "src" / "unmask" / "core" / "renamed.py").write_text("uncommitted = 1\n", encoding="utf-8")
    assert house_since.page(repository, "HEAD~1", "HEAD") == before
