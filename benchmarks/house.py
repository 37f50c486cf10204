"""The package in figures, so that a reorganisation can be held to them.

    python benchmarks/house.py [--src src/unmask] [--walk unmask.api.load:path_or_id]

A *room* is a top-level folder; the modules beside the folders are the room ``api`` (``__main__`` belongs to ``cli``).
Printed are a table and one JSON line:

- statements: every ``ast.stmt`` but docstrings.
- imports: pairs of modules. An import is *module* (runs when the module loads), *function* (inside one), *typing*
  (under ``if TYPE_CHECKING``) or *string* (a string that is a module's name, also with ``:attribute`` behind it, or an
  f-string that begins with one; names that are put together otherwise are not seen). ``from a.b import c`` is of
  ``a.b.c`` where that is a module, else of ``a.b``. A package whose ``__init__`` has under 40 lines and only hands
  names on is a *door*: what is taken from it is followed to the module that defines it; it imports nothing itself.
- loops: modules that reach each other by imports of whatever sort.
- arrows up: imports from a lower room to a higher one by :data:`FLOORS`.
- dispatches on a model's kind: :func:`dispatches`, in the rooms above ``models``; those in the others beside them.
- walks of a parameter: :class:`house_walk.Walker`.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from house_imports import FUNCTIONS, Package, dotted, floors, is_text
from house_walk import Walker

#: the rooms from the ground up; a room may import those of lower floors
FLOORS = (
    ("core",),
    ("diffusion", "data", "metrics", "recipes"),
    ("models", "decoding"),
    ("kvcache", "training", "evaluation"),
    ("diagnosis", "search", "auditing"),
    ("reporting",),
    ("families",),
    ("api",),
    ("experiments",),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
#: parameters whose way through the package is followed; `` via a.module`` chooses among methods of one name
WALKS = (
    "unmask.api.train:recipe via unmask.families.masked",
    "unmask.training.run.train:recipe",
    "unmask.api.sample:texts via unmask.families.masked",
    "unmask.api.diagnose:model via unmask.families.masked",
)
#: classes that say what every model is: asking for them is no dispatch
CONTRACTS = {"Denoiser", "Family", "Model", "Output", "Subject"}
_KIND = re.compile(r"(Bundle|Denoiser|Evaluation|Family|Model|Output|Samples|Solver|Subject)$")
#: names that a model, its network or its subject goes by; those in kvcache are of transformers
_OBJECTS = {"denoiser", "loaded", "model", "net", "subject"}


def room_of(package: Package, module: str) -> str:
    """The top-level folder of a module, one that :data:`FLOORS` knows."""
    parts = package.files[module].split("/")
    room = parts[0] if len(parts) > 1 else "cli" if parts[0] == "__main__.py" else "api"
    if room not in FLOOR:
        raise SystemExit(f"FLOORS has no room {room!r}: say on which floor it lies")
    return room


def statements(tree: ast.AST) -> int:
    """Statements of a module, docstrings apart."""
    nodes = list(ast.walk(tree))
    bodies = [n.body for n in nodes if isinstance(n, (ast.Module, ast.ClassDef, *FUNCTIONS))]
    return sum(isinstance(n, ast.stmt) for n in nodes) - sum(is_text(body[0]) for body in bodies if body)


def kinds(package: Package) -> dict[str, set[str]]:
    """Classes that a family of models owns, and the modules that define them.

    Those whose name ends as a model's, network's, subject's or result's does, and what derives from them; contracts and
    protocols apart.
    """
    found: dict[str, set[str]] = {}
    classes = [(m, n) for m, tree in package.trees.items() for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    size = -1
    while size < len(found):
        size = len(found)
        for module, node in classes:
            bases = {dotted(base).split(".")[-1] for base in node.bases}
            if node.name not in CONTRACTS and "Protocol" not in bases and (_KIND.search(node.name) or bases & {*found}):
                found.setdefault(node.name, set()).add(module)
    return found


def dispatches(package: Package) -> Iterator[tuple[str, int, str, str]]:
    """Places that choose by a model's kind: module, line, rule, source.

    - ``class``: ``isinstance``, ``issubclass``, a comparison of ``type(x)``, a class pattern or a dictionary's key with
      one of :func:`kinds`; not where the module itself defines it.
    - ``family``: an attribute ``.family`` that is compared, matched, or used as a key.
    - ``getattr``: ``hasattr`` or ``getattr`` with a constant name on what is called ``model``, ``subject``, ...
    - ``predicate``: a call of an ``is_...`` function of the rooms models, api and families.
    - ``locals``: a call of ``locals()``, by which settings are sorted out for each kind.
    """
    known = kinds(package)
    rooms = {"models", "api", "families"}
    defined = [n for m, tree in package.trees.items() if room_of(package, m) in rooms for n in tree.body]
    predicates = {n.name for n in defined if isinstance(n, FUNCTIONS) and n.name.startswith("is_")}
    for module, tree in package.trees.items():
        node: Any
        # what a name of the module stands for: a tuple of classes, or a class under another name
        aliases = {dotted(n.targets[0]): n.value for n in tree.body if isinstance(n, ast.Assign)}
        aliases |= {local: ast.Name(name) for local, (_, name) in package.bound[module].items() if name}
        for node in ast.walk(tree):
            for rule in _rules(node, aliases, {k for k, homes in known.items() if module not in homes}, predicates):
                if rule != "getattr" or room_of(package, module) != "kvcache":
                    yield module, node.lineno, rule, ast.unparse(node).splitlines()[0]


def _rules(node: Any, aliases: dict[str, ast.expr], known: set[str], predicates: set[str]) -> set[str]:
    def named(*parts: ast.AST | None) -> bool:
        inside = [n for part in parts if part for n in ast.walk(part)]
        meant = [m for n in inside for m in ast.walk(aliases.get(dotted(n), n))]
        return bool({dotted(m).split(".")[-1] for m in meant} & known)

    def family(*parts: Any) -> bool:
        return any(isinstance(part, ast.Attribute) and part.attr == "family" for part in parts)

    found: dict[str, bool] = {}
    if isinstance(node, ast.Call):
        call, args = dotted(node.func).split(".")[-1], [*node.args, *[None] * 2]
        constant = isinstance(args[1], ast.Constant) and dotted(args[0]).split(".")[-1] in _OBJECTS
        found["class"] = call in ("isinstance", "issubclass") and named(args[1])
        found["getattr"] = call in ("getattr", "hasattr") and constant
        found["family"] = call == "get" and family(args[0])
        found["predicate"], found["locals"] = call in predicates, call == "locals"
    elif isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        found["family"] = family(*sides)
        found["class"] = any(ast.unparse(side).startswith("type(") for side in sides) and named(*sides)
    elif isinstance(node, ast.Match):
        found["family"] = family(node.subject)
        found["class"] = named(*[p.cls for p in ast.walk(node) if isinstance(p, ast.MatchClass)])
    elif isinstance(node, ast.Dict):
        found["class"] = named(*node.keys)
    elif isinstance(node, ast.Subscript):
        found["family"] = family(node.slice)
    return {rule for rule, holds in found.items() if holds}


def measure(package: Package, walks: Iterable[str] = WALKS) -> dict[str, Any]:
    """Every figure, and the places that make it."""
    room = {module: room_of(package, module) for module in package.trees}
    counts: Counter[str] = Counter()
    for module, tree in package.trees.items():
        counts[room[module]] += statements(tree)
    graph = {edge: sorted(sorts) for edge, sorts in sorted(package.graph().items())}
    loops = [[[a, b, sorts] for (a, b), sorts in graph.items() if {a, b} <= {*loop}] for loop in floors(graph)[1]]
    places: dict[bool, list[str]] = {True: [], False: []}
    for module, line, rule, source in sorted(dispatches(package)):
        places[FLOOR[room[module]] > FLOOR["models"]].append(f"{package.files[module]}:{line} {rule}: {source}")
    walker = Walker(package)
    return {
        "statements": sum(counts.values()),
        "statements by room": {name: counts[name] for name in reversed(FLOOR) if name in counts},
        "modules": len(package.trees),
        "imports": len(graph),
        "imports by sort": Counter(sort for sorts in graph.values() for sort in sorts),
        "loops": loops,
        "arrows up": [[a, b, sorts] for (a, b), sorts in graph.items() if FLOOR[room[a]] < FLOOR[room[b]]],
        "dispatches": places[True],
        "dispatches below": places[False],
        "kinds": sorted(kinds(package)),
        "walks": {start: walker.walk(start) for start in walks},
    }


def table(found: dict[str, Any]) -> str:
    """The figures for people."""

    def edges(rows: list[Any]) -> list[str]:
        return [f"    {a} -> {b} ({', '.join(sorts)})" for a, b, sorts in rows]

    lines = [f"{found['statements']:,} statements in {found['modules']} modules"]
    lines += [f"    {room:12} {count:6,}" for room, count in found["statements by room"].items()]
    sorts = ", ".join(f"{count:,} {sort}" for sort, count in found["imports by sort"].items())
    lines += [f"{found['imports']:,} imports: {sorts}", f"{len(found['loops'])} loops"]
    for loop in found["loops"]:
        lines += [f"  {len({a for a, _, _ in loop})} modules", *edges(loop)]
    lines += [f"{len(found['arrows up'])} arrows up", *edges(found["arrows up"])]
    for key in ("dispatches", "dispatches below"):
        rules = Counter(place.split()[1].rstrip(":") for place in found[key])
        lines += [f"{len(found[key])} {key}: " + ", ".join(f"{n} {rule}" for rule, n in rules.items())]
        lines += [f"    {place}" for place in found[key]]
    for start, walk in found["walks"].items():
        climbs = f"{walk['climbs']} climbs, {walk['climbs between rooms']} between rooms"
        lines += [f"walk {start}: {walk['files']} files, {climbs}, {walk['returns']} returns"]
        lines += ["    " + " > ".join(walk["stays"]), *(f"    not followed: {call}" for call in walk["not followed"])]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", type=Path, default=Path(__file__).parents[1] / "src" / "unmask")
    parser.add_argument("--walk", action="append", help="a parameter to follow instead of those of WALKS")
    given = parser.parse_args()
    if not (given.src / "__init__.py").is_file():
        parser.error(f"--src {given.src} is not a package's folder")
    found = measure(Package(given.src), given.walk or WALKS)
    print(table(found))
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    main()
