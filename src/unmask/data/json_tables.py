"""JSON as rows: an object (or a string) a line, or one document that is a list of them or an object of columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from unmask.core.errors import UsageError
from unmask.data.columns import CellKinds, cell_of, survey
from unmask.data.encodings import HEAD
from unmask.data.sources import InMemorySource, Lines, Source
from unmask.data.tables import Table, spread_rows

_NO_JSON = object()


class JsonLines(Table):
    """A file with a JSON object a line, read where it lies."""

    def __init__(self, lines: Lines, where: str) -> None:
        self._lines, self.where = lines, where

    def look(self) -> tuple[CellKinds, bool]:
        numbers = spread_rows(len(self._lines))
        return survey(parsed(self._lines.line(i)) for i in numbers), len(numbers) == len(self._lines)

    def read(self, columns: tuple[str, ...]) -> Source:
        def cells(line: str) -> tuple[Any, ...]:
            row = parsed(line) if line.strip() else dict.fromkeys(columns, "")
            return tuple(cell_of(row, c) for c in columns)

        self._lines.parse = cells
        return self._lines


class JsonRows(Table):
    """The rows of a JSON document, in memory."""

    def __init__(self, rows: list[Any], where: str) -> None:
        self._rows, self.where = rows, where

    def look(self) -> tuple[CellKinds, bool]:
        numbers = spread_rows(len(self._rows))
        return survey(self._rows[i] for i in numbers), len(numbers) == len(self._rows)

    def read(self, columns: tuple[str, ...]) -> Source:
        return InMemorySource([tuple(cell_of(row, c) for c in columns) for row in self._rows])


def parsed(text: str) -> Any:
    """What a JSON text stands for; an object of no type of JSON for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NO_JSON


def json_layout(file: BinaryIO) -> str:
    """What the first bytes of a file look like: ``objects`` a line, a ``document``, or "" for no JSON at all."""
    lines, whole = _first_lines(file)
    if lines and all(isinstance(parsed(line), dict) for line in lines[:100]):
        return "objects"
    if not whole:
        return "document" if lines and re.match(r"[\[{]\s*(?:[\[{\"]|$)", lines[0]) else ""
    if not lines or lines[0][0] not in "[{":
        return ""
    try:
        return "document" if list(_trees("\n".join(lines))) else ""
    except (ValueError, RecursionError):
        return ""


def open_lines(file: BinaryIO, where: str) -> Table | Source:
    """A ``.jsonl`` file: a table where its lines are objects, a source where they are strings.

    Raises:
        UsageError: they are neither, as in a pretty-printed document.
    """
    lines = Lines(file)
    numbers = spread_rows(len(lines))
    some = [text for text in (lines.line(i).strip() for i in numbers) if text]
    rows = [parsed(text) for text in some]
    spread_out = bool(some) and some[0][0] in "[{" and rows[0] is _NO_JSON and some[0][0] + some[-1][-1] in ("[]", "{}")
    strings = sum(isinstance(row, str) for row in rows)
    if not some or (any(isinstance(row, Mapping) for row in rows) and not (spread_out and some[0][0] == "[")):
        return JsonLines(lines, where) if some else InMemorySource([])
    if 2 * strings > len(rows):
        lines.parse = lambda line: (parsed(line) if line.strip() else "",)
        return lines
    if spread_out or (len(some) == 1 and isinstance(rows[0], list)):
        raise UsageError(f"{where} is JSON over several lines or in one list, not an object a line: name it .json")
    raise UsageError(f'{where} has no line that is a JSON object, {some[0][:40]!r} for one: {{"text": ...}} is wanted')


def open_document(file: BinaryIO, where: str) -> Table | Source:
    """A ``.json`` file: a list of objects or strings, an object of columns, or an object a line after all.

    Raises:
        UsageError: it is no JSON, or holds no rows.
    """
    first, _ = _first_lines(file)
    if len(first) > 1 and isinstance(parsed(first[0]), (dict, str)):
        return open_lines(file, where)
    with file:
        file.seek(0)
        text = file.read().decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")
    if not text.strip():
        return InMemorySource([])
    try:
        trees = list(_trees(text))
    except ValueError as error:
        raise UsageError(f"{where} is not JSON: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{where} is not read: its JSON is nested too deeply") from error
    rows = _rows_of(trees[0] if len(trees) == 1 else trees)
    if rows is None:
        raise UsageError(
            f"{where} holds no rows: a list of objects or of strings, or an object of equally long lists is wanted"
        )
    if rows and all(isinstance(row, str) for row in rows):
        return InMemorySource([(row,) for row in rows])
    return JsonRows(rows, where)


def _trees(text: str) -> Iterator[Any]:
    """The JSON values of a text, one after the other, as jq prints them."""
    decoder, space = json.JSONDecoder(), re.compile(r"\s*")
    at = len(text) - len(text.lstrip())
    while at < len(text):
        tree, at = decoder.raw_decode(text, at)
        at = space.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        yield tree


def _rows_of(tree: Any) -> list[Any] | None:
    if isinstance(tree, list):
        return tree if not tree or any(isinstance(row, (dict, str)) for row in tree) else None
    if not isinstance(tree, dict) or not tree:
        return None
    cells = list(tree.values())
    tables = [cell for cell in cells if isinstance(cell, list) and cell and all(isinstance(row, dict) for row in cell)]
    if len(tables) == 1 and not any(isinstance(cell, (list, dict)) for cell in cells if cell is not tables[0]):
        return tables[0]  # {"version": ..., "data": [{...}, ...]}
    if isinstance(tree.get("columns"), list) and isinstance(tree.get("data"), list):
        return [dict(zip(tree["columns"], row, strict=False)) for row in tree["data"] if isinstance(row, list)]
    if all(isinstance(cell, list) and len(cell) == len(cells[0]) for cell in cells):
        return [dict(zip(tree, row, strict=True)) for row in zip(*cells, strict=True)]
    if all(isinstance(cell, dict) and cell.keys() == cells[0].keys() for cell in cells):
        return [{name: cell[i] for name, cell in tree.items()} for i in cells[0]]  # pandas' to_json
    return [tree]


def _first_lines(file: BinaryIO) -> tuple[list[str], bool]:
    """The lines in the first bytes of a file that are not blank, and whether these are all it has."""
    file.seek(0)
    head = file.read(HEAD)
    whole = len(head) < HEAD
    text = head.decode("utf-8", errors="surrogateescape").removeprefix("\ufeff")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not whole:
        lines.pop()
    return [line.strip() for line in lines if line.strip()], whole
