"""The way of one parameter through a package: whoever it is passed to, as the sources say."""

from __future__ import annotations

import ast
import builtins
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from house_imports import FUNCTIONS, Package, dotted, floors, is_text

#: methods of common types: their name says nothing about whose they are
COMMON = {name for kind in vars(builtins).values() if isinstance(kind, type) for name in dir(kind)} | set(dir(Path))
#: calls whose value holds what they are given
ALIKE = {"dict", "enumerate", "iter", "list", "reversed", "set", "sorted", "tuple", "zip"}
Def = tuple[str, str]  # a module, and a function or class in it


@dataclass(eq=False)
class Scope:
    """A function that is being read.

    Attributes:
        module, holder: where it stands, and the class whose method it is.
        here: names, and attributes of names, that are the parameter or hold it.
        types: classes of names, where they are known.
        bound: names that it binds itself, by imports as in :class:`Package`; to functions and their scopes.
    """

    module: str
    holder: Def | None
    here: set[str]
    types: dict[str, Def] = field(default_factory=dict)
    bound: dict[str, Any] = field(default_factory=dict)


class Walker:
    """Follows a parameter to whoever it is passed to, in the order of the code, depth first.

    An expression *names* the parameter where it is the parameter, an attribute or item of it, something built around
    one (a list, a choice, a sum), or a local assigned from such; loops, comprehensions and ``with`` assign, too. What a
    call returns is another value. A call is followed when an argument, or the object whose method it is, names the
    parameter; the callee's matching parameters go on from there. Functions inside a function are read where they stand.

    A callee is found through imports; a class's is its ``__init__``, where it writes one. A method is found when its
    object's class is known (from an annotation, a constructor, what a function says it returns, or ``self``); else when
    one class alone has a method of that name, and no common type of Python. Methods without a body, and those of
    classes that derive from another library's, are not guessed. Where several classes have it, ``via`` (the beginning
    of a module's name) may choose. What is not found is not followed. A function is entered once.
    """

    def __init__(self, package: Package) -> None:
        self.package = package
        self.defs: dict[Def, Any] = {}
        self.classes: dict[Def, ast.ClassDef] = {}
        for module, tree in package.trees.items():
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    self.classes[module, node.name] = node
                elif isinstance(node, FUNCTIONS):
                    self.defs[module, node.name] = node
        self.methods = {k: {n.name: n for n in c.body if isinstance(n, FUNCTIONS)} for k, c in self.classes.items()}
        self.owners: dict[str, list[Def]] = defaultdict(list)
        for kind, methods in self.methods.items():
            if len(self._bases(kind)) == len({*map(dotted, self.classes[kind].bases)} - {"", "ABC"}):
                for name in (name for name, node in methods.items() if not _empty(node)):
                    self.owners[name].append(kind)
        edges = list(package.graph())
        rooms = [tuple(".".join(module.split(".")[:2]) for module in edge) for edge in edges]
        self.floor, self.room_floor = floors(edges)[0], floors((a, b) for a, b in rooms if a != b)[0]

    def walk(self, start: str) -> dict[str, Any]:
        """The trip of ``package.module.function:parameter``, or ``... via package.module``.

        Returns:
            ``files`` entered; ``climbs``, moves to a file on a higher floor; ``climbs between rooms``, the same with
            the floors of top-level folders and modules beside them; ``returns`` to a file that was left; the ``stays``,
            file by file; the calls ``not followed``, of methods that several classes have.
        """
        place, _, self.via = start.partition(" via ")
        place, _, parameter = place.partition(":")
        module, _, name = place.rpartition(".")
        key = self._def(module, name) if module in self.package.trees else ("", "")
        if key not in self.defs or parameter not in _parameters(self.defs[key])[0]:
            raise SystemExit(f"{start!r} names no parameter of a function: write package.module.function:parameter")
        self.stays: list[str] = []
        self.read: set[int] = set()
        self.lost: set[str] = set()
        self._enter(Scope(key[0], None, {parameter}), self.defs[key])
        moves = list(zip(self.stays, self.stays[1:], strict=False))
        files = set(self.stays)

        def climbs(floor: dict[str, int], depth: int | None) -> int:
            pairs = [[floor.get(".".join(m.split(".")[:depth]), 1) for m in move] for move in moves]
            return sum(b > a for a, b in pairs)

        return {
            "files": len(files),
            "climbs": climbs(self.floor, None),
            "climbs between rooms": climbs(self.room_floor, 2),
            "returns": len(self.stays) - len(files),
            "stays": [self.package.files[module] for module in self.stays],
            "not followed": sorted(self.lost),
        }

    def _enter(self, s: Scope, node: Any) -> None:
        if id(node) in self.read:
            return
        self.read.add(id(node))
        if self.stays[-1:] != [s.module]:
            self.stays.append(s.module)
        self._body(s, node)

    def _body(self, s: Scope, node: Any) -> None:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        s.types |= {a.arg: kind for a in arguments if (kind := self._annotated(a.annotation, s.module))}
        s.types |= {"self": s.holder} if s.holder and arguments and arguments[0].arg == "self" else {}
        for child in node.body if isinstance(node.body, list) else [node.body]:
            self._visit(child, s)

    def _visit(self, node: Any, s: Scope) -> None:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            s.bound |= {local: (base, name) for local, base, name in self.package.bindings(s.module, node)}
        elif isinstance(node, (*FUNCTIONS, ast.Lambda)):
            own = _parameters(node)[0]
            inner = Scope(s.module, s.holder, s.here - own, {k: v for k, v in s.types.items() if k not in own}, s.bound)
            if not isinstance(node, ast.Lambda):
                s.bound[node.name] = (node, inner)
            self._body(inner, node)
        elif not isinstance(node, ast.ClassDef):
            assigns = isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr))
            value = node.value if assigns else getattr(node, "iter", None) or getattr(node, "context_expr", None)
            if value is not None:
                self._visit(value, s)
                targets = getattr(node, "targets", None) or [getattr(node, "target", None) or node.optional_vars]
                for target in targets:
                    self._assign(target, value, s, node)
            # a comprehension's loops run before its element
            for child in sorted(ast.iter_child_nodes(node), key=lambda c: not isinstance(c, ast.comprehension)):
                if child is not value:
                    self._visit(child, s)
            if isinstance(node, ast.Call):
                self._call(node, s)

    def _assign(self, target: Any, value: Any, s: Scope, node: Any) -> None:
        if isinstance(target, (ast.Tuple, ast.List, ast.Starred)):
            for part in [target.value] if isinstance(target, ast.Starred) else target.elts:
                self._assign(part, value, s, None)
        elif name := dotted(target):
            if self._names(value, s):
                s.here.add(name)
            kind = self._annotated(getattr(node, "annotation", None), s.module)
            kind = kind or (self._class(value, s) if isinstance(node, (ast.Assign, ast.NamedExpr)) else None)
            s.types.pop(name, None)
            s.types |= {name: kind} if kind else {}

    def _names(self, node: ast.AST, s: Scope) -> bool:
        if isinstance(node, ast.Call):
            return dotted(node.func) in ALIKE and any(self._names(a, s) for a in node.args)
        if isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred)):
            return dotted(node) in s.here or self._names(node.value, s)
        if isinstance(node, ast.IfExp):
            return self._names(node.body, s) or self._names(node.orelse, s)
        if isinstance(node, (ast.Compare, ast.Lambda, ast.JoinedStr)):
            return False
        return dotted(node) in s.here or any(self._names(child, s) for child in ast.iter_child_nodes(node))

    def _call(self, call: ast.Call, s: Scope) -> None:
        owner = isinstance(call.func, ast.Attribute) and self._names(call.func.value, s)
        if not owner and not any(self._names(a, s) for a in [*call.args, *(k.value for k in call.keywords)]):
            return
        for module, holder, node, inner in self._callees(call.func, s):
            names, positional, rest, named = _parameters(node)
            bound = holder is not None and "staticmethod" not in map(dotted, node.decorator_list)
            here = set(positional[:1]) if bound and owner else set()
            positional = positional[bound:]
            for at, argument in enumerate(call.args):
                if self._names(argument, s):
                    here |= {
                        *(positional[at:] if isinstance(argument, ast.Starred) else positional[at : at + 1])
                    } or rest
            for keyword in call.keywords:
                if self._names(keyword.value, s):
                    here |= {keyword.arg} if keyword.arg in names else named
            if here:
                inner = inner or Scope(module, holder, set())
                inner.here |= here
                self._enter(inner, node)

    def _callees(self, func: ast.AST, s: Scope) -> list[tuple[str, Def | None, Any, Scope | None]]:
        """Module, class, function and, of one that stands in the scope, its own scope."""
        if isinstance(func, ast.IfExp):
            return [*self._callees(func.body, s), *self._callees(func.orelse, s)]
        found = self._lookup(func, s)
        if found and isinstance(found[0], ast.AST):
            return [(s.module, None, *found)]
        if found in self.defs:
            return [(found[0], None, self.defs[found], None)]
        if found in self.classes:
            return self._method(found, "__init__")
        if not isinstance(func, ast.Attribute):
            return []
        if isinstance(func.value, ast.Call) and dotted(func.value.func) == "super" and s.holder:
            return [m for base in self._bases(s.holder) for m in self._method(base, func.attr)][:1]
        kind = self._class(func.value, s) or self._lookup(func.value, s)
        if kind in self.classes and (known := self._method(kind, func.attr)):
            return known
        first: Any = func
        while isinstance(first, (ast.Attribute, ast.Call, ast.Subscript)):
            first = first.func if isinstance(first, ast.Call) else first.value
        if dotted(first) in self.package.foreign[s.module] or func.attr in COMMON:
            return []
        owners = self.owners.get(func.attr, [])
        owners = owners if len(owners) == 1 or not self.via else [o for o in owners if o[0].startswith(self.via)]
        if len(owners) > 1 or (not owners and func.attr in self.owners):
            self.lost.add(f"{self.package.files[s.module]}:{func.lineno} {ast.unparse(func)}")
        return self._method(owners[0], func.attr) if len(owners) == 1 else []

    def _method(self, kind: Def, name: str) -> list[tuple[str, Def | None, Any, Scope | None]]:
        if name in self.methods[kind]:
            node = self.methods[kind][name]
            return [] if _empty(node) else [(kind[0], kind, node, None)]
        return [found for base in self._bases(kind) for found in self._method(base, name)][:1]

    def _bases(self, kind: Def) -> list[Def]:
        found = [self._lookup(base, Scope(kind[0], None, set())) for base in self.classes[kind].bases]
        return [base for base in found if base in self.classes]

    def _def(self, module: str, name: str | None) -> Def:
        """Where a name is defined, also one that a module has from another; of a module: the module and nothing."""
        module, name = self.package.resolve(module, name)
        bound = self.package.bound[module].get(name or "")
        return self._def(*bound) if bound else (module, name or "")

    def _lookup(self, node: ast.AST, s: Scope) -> Any:
        """The definition that an expression names, or a function of the scope with its own; else None."""
        if isinstance(node, ast.Attribute):
            inside = self._lookup(node.value, s)
            return self._def(inside[0], node.attr) if inside and inside[1] == "" else None
        name = dotted(node)
        if name == "cls" and s.holder:
            return s.holder
        if not name or name in s.types:
            return None
        bound = s.bound.get(name) or self.package.bound[s.module].get(name)
        return (s.module, name) if not bound else bound if isinstance(bound[0], ast.AST) else self._def(*bound)

    def _annotated(self, node: Any, module: str) -> Def | None:
        """The class that an annotation names."""
        if isinstance(node, ast.BinOp):
            return self._annotated(node.left, module) or self._annotated(node.right, module)
        found = self._lookup(node, Scope(module, None, set()))
        return found if found in self.classes else None

    def _class(self, node: Any, s: Scope) -> Def | None:
        """The class of an expression's value."""
        if dotted(node) in s.types:
            return s.types[dotted(node)]
        if isinstance(node, ast.Attribute) and (holder := self._class(node.value, s)):
            return self._attribute(holder, node.attr)
        if not isinstance(node, ast.Call):
            return None
        found = self._lookup(node.func, s)
        if found in self.classes:
            return found
        lost = set(self.lost)
        callees = self._callees(node.func, s)
        self.lost = lost  # the call is not followed here
        module, holder, function, _ = callees[0] if callees else (s.module, None, None, None)
        returns = getattr(function, "returns", None)
        return holder if dotted(returns) == "Self" else self._annotated(returns, module)

    def _attribute(self, kind: Def, name: str) -> Def | None:
        for node in self.classes[kind].body:
            if isinstance(node, ast.AnnAssign) and dotted(node.target) == name:
                return self._annotated(node.annotation, kind[0])
        return next((found for base in self._bases(kind) if (found := self._attribute(base, name))), None)


def _parameters(node: Any) -> tuple[set[str], list[str], set[str], set[str]]:
    """Names of a function's parameters: all, those by position, and what takes more by position and by name."""
    a = node.args
    positional = [p.arg for p in (*a.posonlyargs, *a.args)]
    rest, named = ({p.arg} if p else set() for p in (a.vararg, a.kwarg))
    return {*positional, *(p.arg for p in a.kwonlyargs)}, positional, rest, named


def _empty(node: Any) -> bool:
    """Whether a method says only what others are to do."""
    body = [n for n in node.body if not is_text(n)]
    return all(isinstance(n, (ast.Pass, ast.Raise)) or ast.unparse(n) == "..." for n in body)
