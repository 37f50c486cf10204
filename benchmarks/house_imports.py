"""A package as its sources say: its modules, and which imports which. Nothing of it is imported or run."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DOOR_LINES = 40


def dotted(node: Any) -> str:
    """``a.b.c`` for a name and its attributes, else nothing."""
    if isinstance(node, ast.Attribute):
        return f"{base}.{node.attr}" if (base := dotted(node.value)) else ""
    return node.id if isinstance(node, ast.Name) else ""


def is_text(node: ast.stmt) -> bool:
    """Whether a statement is a string and nothing else."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def is_typing(node: ast.AST) -> bool:
    """Whether a node is ``if TYPE_CHECKING:``."""
    return isinstance(node, ast.If) and dotted(node.test).split(".")[-1] == "TYPE_CHECKING"


def with_sort(tree: Any) -> Iterator[tuple[Any, str]]:
    """Every node of a tree, and the sort of an import there: module, function or typing."""
    todo = [(tree, "module")]
    for node, sort in todo:
        yield node, sort
        inner = "function" if isinstance(node, (*FUNCTIONS, ast.Lambda)) else sort
        typing = is_typing(node)
        for child in ast.iter_child_nodes(node):
            todo.append((child, "typing" if typing and child in node.body else inner))


class Package:
    """The modules of the package in the folder ``src``.

    Attributes:
        trees, files: each module's syntax tree, and its path in the package.
        packages, doors: modules that are folders; those that only hand names on, in under 40 lines.
        bound: each module's names that stand for others of the package: (module, name there; None is the module).
        foreign: each module's names that its imports bind to what is not of the package.
    """

    def __init__(self, src: Path) -> None:
        self.trees: dict[str, ast.Module] = {}
        self.files: dict[str, str] = {}
        self.packages: set[str] = set()
        self.doors: set[str] = set()
        for path in sorted(src.rglob("*.py")):
            parts = (src.resolve().name, *path.relative_to(src).with_suffix("").parts)
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text(encoding="utf-8")
            self.trees[module], self.files[module] = ast.parse(text), path.relative_to(src).as_posix()
            if parts[-1] == "__init__":
                self.packages.add(module)
                if len(text.splitlines()) < DOOR_LINES and all(map(_hands_on, self.trees[module].body)):
                    self.doors.add(module)
        self.bound: dict[str, dict[str, tuple[str, str | None]]] = {}
        self.foreign: dict[str, set[str]] = {}
        for module, tree in self.trees.items():
            nodes = [(n, sort) for n, sort in with_sort(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
            pairs = [(n, b) for n, sort in nodes if sort != "function" for b in self.bindings(module, n)]
            self.bound[module] = {local: (base, name) for _, (local, base, name) in pairs}
            own = {local for n, _ in nodes for local, _, _ in self.bindings(module, n)}
            self.foreign[module] = {a.asname or a.name.split(".")[0] for n, _ in nodes for a in n.names} - own

    def bindings(self, module: str, node: ast.AST) -> Iterator[tuple[str, str, str | None]]:
        """Names of the package that an import binds: local name, module, name there (None: the module itself)."""
        if isinstance(node, ast.Import):
            yield from ((a.asname or a.name, a.name, None) for a in node.names if a.name in self.trees)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")
            above = above[: len(above) - node.level + (module in self.packages)] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((a.asname or a.name, base, a.name) for a in node.names if base in self.trees)

    def resolve(self, module: str, name: str | None) -> tuple[str, str | None]:
        """What ``name`` of ``module`` is, doors seen through: a module and None, or a module and a name that it has."""
        if name is None or f"{module}.{name}" in self.trees:
            return f"{module}.{name}" if name else module, None
        bound = self.bound[module].get(name) if module in self.doors else None
        return self.resolve(*bound) if bound else (module, name)

    def graph(self) -> dict[tuple[str, str], dict[str, int]]:
        """(importer, imported) to the sorts of the import, each with the first line where it stands."""
        found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        for module in sorted(self.trees.keys() - self.doors):
            for target, sort, line in self._imports(module):
                if target != module:
                    found[module, target][sort] = min(line, found[module, target].get(sort, line))
        return dict(found)

    def _imports(self, module: str) -> Iterator[tuple[str, str, int]]:
        nodes = list(with_sort(self.trees[module]))
        within = {id(node.value) for node, _ in nodes if isinstance(node, ast.Attribute)}
        chains = {chain for node, _ in nodes if id(node) not in within and (chain := dotted(node))}
        prose = {id(node.value) for node, _ in nodes if isinstance(node, ast.Expr)}
        for node, sort in nodes:
            for local, base, name in self.bindings(module, node):
                target, left = self.resolve(base, name)
                uses: list[str] = []
                if left is None and target in self.packages:  # bound whole: what is used of it?
                    uses = [c.removeprefix(f"{local}.") for c in chains if c.startswith(f"{local}.")]
                for use in uses or [""]:
                    at: tuple[str, str | None] = (target, left)
                    for part in use.split(".") if use else ():
                        at = self.resolve(at[0], part) if at[1] is None else at
                    yield at[0], sort, node.lineno
            text = node.value if isinstance(node, ast.Constant) and id(node) not in prose else None
            if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                text = str(node.values[0].value).rpartition(".")[0]
            if isinstance(text, str) and "." in text and text.split(":")[0] in self.trees:
                yield text.split(":")[0], "string", node.lineno


def _hands_on(node: ast.stmt) -> bool:
    if isinstance(node, FUNCTIONS):
        return node.name in ("__getattr__", "__dir__")  # names that are handed on late
    if isinstance(node, ast.Assign):
        return all(dotted(target).startswith("__") for target in node.targets)
    return isinstance(node, (ast.Import, ast.ImportFrom)) or is_typing(node) or is_text(node)


def floors(edges: Iterable[tuple[str, str]]) -> tuple[dict[str, int], list[list[str]]]:
    """Each node's floor, and the loops: 1 where nothing is imported, else one above the highest that is.

    A loop is one node: Tarjan's strongly connected components, each complete once all that it reaches is.
    """
    after: dict[str, set[str]] = {}
    for a, b in edges:
        after.setdefault(a, set()).add(b)
        after.setdefault(b, set())
    low: dict[str, int] = {}
    floor: dict[str, int] = {}
    stack: list[str] = []
    loops: list[list[str]] = []

    def visit(node: str) -> int:
        at = low[node] = len(low)
        stack.append(node)
        for other in sorted(after[node]):
            if other not in floor:
                low[node] = min(low[node], low[other] if other in low else visit(other))
        if low[node] == at:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            below = {floor[b] for a in part for b in after[a] if b in floor}
            floor.update(dict.fromkeys(part, 1 + max(below, default=0)))
            loops.extend([sorted(part)] if len(part) > 1 else [])
        return low[node]

    for node in sorted(after):
        if node not in floor:
            visit(node)
    return floor, sorted(loops)
