"""What a public function returns has a name: no ``Any`` in what users call, nor in the contracts of core."""

import ast
from pathlib import Path

import pytest

import unmask

PACKAGE = Path(unmask.__file__).parent
FILES = [PACKAGE / "api.py", PACKAGE / "families/__init__.py", *sorted((PACKAGE / "core").glob("*.py"))]


def without_a_name(text: str) -> list[str]:
    """Public functions and methods of a module that return nothing in particular."""
    found = []

    def read(nodes, owner):
        for node in nodes:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                read(node.body, f"{owner}{node.name}.")
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
                said = None if node.returns is None else ast.unparse(node.returns)
                if said in (None, "Any", "object") or said.startswith(("Any |", "Optional[Any")):
                    found.append(f"{owner}{node.name} -> {said}")

    read(ast.parse(text).body, "")
    return found


def test_what_is_looked_for_is_found():
    text = "def a() -> Any: ...\ndef _b() -> Any: ...\nclass C:\n  def d(self): ...\n  def e(self) -> int: ...\n"
    assert without_a_name(text) == ["a -> Any", "C.d -> None"]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_public_functions_say_what_they_return(file):
    assert without_a_name(file.read_text(encoding="utf-8")) == []


def test_every_public_call_is_one_of_these():
    functions = [name for name in unmask.__all__ if callable(getattr(unmask, name))]
    assert {getattr(unmask, name).__module__ for name in functions} == {"unmask.api"}
    assert all(getattr(unmask, name).__annotations__["return"] not in ("Any", "object") for name in functions)
