"""Statements then and now: modules that existed when the counting began, and modules that new features brought.

    python benchmarks/house_since.py [--since COMMIT] [--now COMMIT] > since.md

``since`` is the commit that added benchmarks/house.py. Both trees are read from git. A module of today *existed then*
where git finds it under the same path or renamed or copied from one (half of it alike), or where half of its
statements, imports apart, stand in the tree of then: it was split off. Every other module is *new*; what it brings is
the first sentence of its docstring. A module of then is *gone* where git finds none that it became: what it did is done
elsewhere, in new modules or in old ones. Statements are counted as benchmarks/house.py counts them.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import tarfile
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from house import FLOOR, room_of, statements
from house_imports import Package

ROOT = Path(__file__).parents[1]
SRC = "src/unmask"
#: new modules of a folder that are named in one line, for each is one more of a kind
OF_A_KIND = 4


def git(root: Path, *words: str) -> bytes:
    """What git prints."""
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=True).stdout


def tree(root: Path, commit: str, folder: Path) -> Package:
    """The package as it was at a commit."""
    with tarfile.open(fileobj=io.BytesIO(git(root, "archive", commit, SRC))) as files:
        files.extractall(folder, filter="data")
    return Package(folder / SRC)


def lines(module: ast.Module) -> list[str]:
    """Statements of a module, imports apart; of those with others in them the first line."""
    nodes = [n for n in ast.walk(module) if isinstance(n, ast.stmt) and not isinstance(n, (ast.Import, ast.ImportFrom))]
    return [ast.unparse(node).splitlines()[0] for node in nodes]


def existed(root: Path, since: str, now: str, then: Package, today: Package) -> tuple[set[str], set[str]]:
    """Paths of today's modules that existed then, were renamed or copied, or were split off; and of those now gone."""
    moves = git(root, "diff", "--name-status", "-M50%", "-C50%", since, now, "--", SRC).decode().splitlines()
    paths = [[part.removeprefix(f"{SRC}/") for part in move.split("\t")] for move in moves]
    found = {parts[2] for parts in paths if parts[0][0] in "RC"} | {*then.files.values()} & {*today.files.values()}
    gone = {parts[1] for parts in paths if parts[0] == "D"}
    known = {line for module in then.trees.values() for line in lines(module)}
    for name, module in today.trees.items():
        own = lines(module)
        if own and sum(line in known for line in own) >= len(own) / 2:
            found.add(today.files[name])
    return found, gone


def page(root: Path, since: str, now: str) -> str:
    """Two tables in Markdown: by room, and the new modules."""
    with tempfile.TemporaryDirectory() as folder:
        then, today = tree(root, since, Path(folder) / "then"), tree(root, now, Path(folder) / "now")
    old, gone = existed(root, since, now, then, today)
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("then", "gone", "same", "new", "modules")}
    for name, module in then.trees.items():
        counts["then"][room_of(then, name)] += statements(module)
        counts["gone"][room_of(then, name)] += statements(module) if then.files[name] in gone else 0
    brought: dict[str, list[tuple[str, int, str]]] = defaultdict(list)
    for name, module in today.trees.items():
        path, size = today.files[name], statements(module)
        counts["same" if path in old else "new"][room_of(today, name)] += size
        if path not in old and size > 1:
            counts["modules"][room_of(today, name)] += 1
            first = (ast.get_docstring(module) or "").split("\n\n")[0].replace("\n", " ")
            brought[path.rpartition("/")[0]].append((path, size, first))
    told = [
        f"At `{git(root, 'rev-parse', '--short', now).decode().strip()}`, against "
        f"`{git(root, 'rev-parse', '--short', since).decode().strip()}`.",
        "",
        "| room | then | of them gone | the others now | difference | new modules | their statements |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    rooms = [room for room in reversed(FLOOR) if any(room in count for count in counts.values())]
    sums = [(room, *(counts[name][room] for name in counts)) for room in rooms]
    sums.append(("**all**", *(sum(count.values()) for count in counts.values())))
    told += [f"| {r} | {a:,} | {g:,} | {b:,} | {b - a + g:+,} | {n} | {c:,} |" for r, a, g, b, c, n in sums]
    told += ["", "| new module | statements | what it brings |", "|---|--:|---|"]
    for folder, modules in sorted(brought.items()):
        if folder.count("/") and len(modules) >= OF_A_KIND:
            names = ", ".join(f"`{Path(path).stem}`" for path, _, _ in sorted(modules))
            told.append(f"| `{folder}/`, {len(modules)} | {sum(size for _, size, _ in modules):,} | {names} |")
        else:
            told += [f"| `{path}` | {size:,} | {first} |" for path, size, first in sorted(modules)]
    return "\n".join(told) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--since", help="a commit; the one that added benchmarks/house.py when not given")
    parser.add_argument("--now", default="HEAD", help="a commit")
    given = parser.parse_args()
    added = git(ROOT, "log", "--diff-filter=A", "--format=%H", "--", "benchmarks/house.py").decode().split()
    if not (given.since or added):
        parser.error("git knows no commit that added benchmarks/house.py: name one with --since")
    print(page(ROOT, given.since or added[-1], given.now), end="")


if __name__ == "__main__":
    main()
