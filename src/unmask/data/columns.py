"""Which column of some rows is the text: by a usual name, or the only one; anything else is asked.

Some hundred rows are looked at, with all their keys and values: the first row alone may lack the text or hold a null. A
column of ids, URLs, numbers or dates is never taken unasked, nor is one of several that happens to hold strings.
"""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from unmask.core.errors import UsageError, did_you_mean

#: column names tried in turn when the caller names none; capitals do not matter
USUAL = ("text", "sentence", "content", "document")
# names that mean the text whatever it reads like
_WHATEVER = ("text", "prompt")
#: rows that are looked at
LOOK = 300

TEXT, NOTHING, CHAT, LISTS = "texts", "nothing", "chats", "lists"
_STRING_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("URLs", re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://|www\.)\S+$")),
    ("dates", re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[T ]+\d{1,2}:\d{2}\S*)?$|\d{1,2}:\d{2}(?::\d{2})?$")),
    ("numbers", re.compile(r"[-+]?[$€£]?\.?\d[\d.,' _]*(?:[eE][-+]?\d+)?\s*%?$")),
    # one word with a digit, an address or a path: doc12, 3f9a-77c0, a@b.org, images/cat.png
    ("ids", re.compile(r"(?=\S*\d)[\w.:/@#+=-]+$|[\w.+-]+@[\w.-]+$|[\w.-]*/[\w./-]+\.\w{2,4}$", re.ASCII)),
)
_STRINGS = {TEXT, *(kind for kind, _ in _STRING_KINDS)}
_NO_TEXT_NAME = re.compile(
    r"(?:.*[_-])?(?:id|ids|idx|index|uid|uuid|guid|url|urls|uri|link|href|path|file|filename|date|time|timestamp|hash|md5|"
    r"sha\d*|label|labels|lang|language|split)$|.*[a-z](?-i:Id|ID|Url|URL|Uri|Date)$",
    re.IGNORECASE,
)
_INDEX = re.compile(r"(?:Unnamed: \d+(?:_level_\d+)?|__index_level_\d+__|)$")
_CHATS = (frozenset({"role", "content"}), frozenset({"from", "value"}))

CellKinds = dict[str, Counter[str]]


def shown(name: str) -> str:
    """A column's name for a message, on one line: a header may be anything."""
    return " ".join(name[:40].split())


def usual_name(name: str, usual: Sequence[str] = USUAL) -> bool:
    """Whether a column of this name is taken without being asked for."""
    return name.strip().lower() in usual


def cell_kind(cell: Any) -> str:
    """The kind of a value, as messages call it: ``texts``, ``nothing`` (null or blank), ``URLs``, ``chats`` ..."""
    if cell is None or (isinstance(cell, float) and cell != cell):
        return NOTHING
    if isinstance(cell, str):
        bare = cell.strip()
        return next((kind for kind, shape in _STRING_KINDS if shape.match(bare)), TEXT) if bare else NOTHING
    if isinstance(cell, bool):
        return "true or false"
    if isinstance(cell, (int, float, Decimal)):
        return "plain numbers"
    if isinstance(cell, (list, tuple)):
        return CHAT if cell and all(isinstance(turn, Mapping) and _turn(turn) for turn in cell) else LISTS
    if isinstance(cell, Mapping):
        return "objects"
    if isinstance(cell, (bytes, bytearray)):
        return "bytes"
    if isinstance(cell, (datetime.date, datetime.time, datetime.timedelta)):
        return "points in time"
    return type(cell).__name__


def survey(rows: Iterable[Any]) -> CellKinds:
    """The kinds of values in every column of the rows, counted; a nested column has a dotted name (``answer.text``)."""
    found: CellKinds = {}
    for row in rows:
        if isinstance(row, Mapping):
            for name, cell in _leaves(row, ""):
                found.setdefault(name, Counter())[cell_kind(cell)] += 1
    return found


def cell_of(row: Any, name: str) -> Any:
    """The value of a column in a row; None where there is none.

    Args:
        row: a mapping, with others in it.
        name: a key, or keys with dots between; a key that holds a dot itself comes first.
    """
    if not isinstance(row, Mapping):
        return None
    if name in row:
        return row[name]
    parts = name.split(".")
    for i in range(len(parts) - 1, 0, -1):
        head = ".".join(parts[:i])
        if head in row:
            return cell_of(row[head], ".".join(parts[i:]))
    return None


def choose_columns(
    found: CellKinds,
    wanted: tuple[str, ...] | None,
    where: str,
    *,
    complete: bool = False,
    usual: Sequence[str] = USUAL,
) -> tuple[str, ...]:
    """The columns to read: those wanted, else the usual name, else the only one.

    Args:
        found: from :func:`survey`.
        wanted: names that the caller gave.
        where: the source's name, for the message.
        complete: every row was looked at, so a column without a value has none.
        usual: names that are taken unasked.

    Raises:
        UsageError: a wanted column is not there or holds no texts, or it is not clear which is meant.
    """
    if wanted:
        for column in wanted:
            _check(found, column, where, complete)
        return wanted
    for name in usual:
        same = [c for c in found if c == name] or [c for c in found if c.strip().lower() == name]
        if len(same) == 1:
            kind = _kind(found[same[0]])
            if name not in _WHATEVER and kind in _STRINGS - {TEXT}:
                continue  # a document's number, a content's address
            _check(found, same[0], where, complete)
            return (same[0],)
        if same:
            break
    texts = [c for c in found if _kind(found[c]) == TEXT and not _INDEX.match(c)]
    if len(found) == 1 and texts and not _NO_TEXT_NAME.match(texts[0].rsplit(".", 1)[-1]):
        return (texts[0],)
    raise UsageError(_which(found, texts, where))


def _turn(turn: Mapping[Any, Any]) -> bool:
    return any(keys <= turn.keys() for keys in _CHATS)


def _leaves(row: Mapping[Any, Any], before: str) -> Iterator[tuple[str, Any]]:
    for key, cell in row.items():
        name = f"{before}{key}"
        # so deep that no one would name it, it is an object
        if isinstance(cell, Mapping) and cell and name.count(".") < 8:
            yield from _leaves(cell, f"{name}.")
        else:
            yield name, cell


def _kind(kinds: Counter[str]) -> str:
    """What nearly all values of a column are; texts if a tenth of its strings reads as text."""
    strings = {k: n for k, n in kinds.items() if k in _STRINGS}
    total = sum(strings.values())
    if total:
        if strings.get(TEXT, 0) > 0.1 * total:
            return TEXT
        return max(sorted(strings.keys() - {TEXT}), key=lambda kind: strings[kind])
    rest = {k: n for k, n in kinds.items() if k != NOTHING}
    return max(sorted(rest), key=lambda kind: rest[kind]) if rest else NOTHING


def _check(found: CellKinds, column: str, where: str, complete: bool) -> None:
    """Refuse a column, wanted or usual, that is not there or holds no strings."""
    if column not in found:
        inner = [c for c in found if c.startswith(f"{column}.")]
        if inner:
            raise UsageError(f"column {column!r} of {where} holds objects: name one of {_shown(inner)}")
        raise UsageError(f"{where} has no column {column!r}: {did_you_mean(column, map(shown, list(found)[:20]))}")
    kind = _kind(found[column])
    if kind == CHAT:
        raise UsageError(_chat(column, where))
    if kind == NOTHING and complete:
        others = [c for c in found if _kind(found[c]) == TEXT]
        hint = f"; column= may be one of {_shown(others)}" if others else ""
        raise UsageError(f"column {column!r} of {where} is empty in every row{hint}")
    if kind not in _STRINGS | {NOTHING}:
        hint = ": join each to one text first" if kind == LISTS else ", not texts"
        raise UsageError(f"column {column!r} of {where} holds {kind}{hint}")


def _chat(column: str, where: str) -> str:
    return (
        f"column {column!r} of {where} holds chats: write each as one text first, such as with a tokenizer's "
        "apply_chat_template(chat, tokenize=False), or name a column of texts"
    )


def _which(found: CellKinds, texts: list[str], where: str) -> str:
    if texts:
        return f"which column of {where} is the text? column= one of {_shown(texts)}"
    for column, kinds in found.items():
        if _kind(kinds) == CHAT:
            return _chat(column, where)
    if not found:
        return f"which column of {where} is the text? It has none"
    known = ", ".join(f"{shown(c) or 'a nameless one'} ({_kind(kinds)})" for c, kinds in list(found.items())[:20])
    strings = any(_kind(kinds) in _STRINGS for kinds in found.values())
    return f"no column of {where} looks like texts: {known}{'; column= takes strings all the same' if strings else ''}"


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:20]))
