"""Texts of a file in its own order and as they stand: prompts to go on from, and prose to read as one.

Nothing is split, shortened or left out for being there twice, as :mod:`unmask.data.text` does for training.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from unmask.core import distributed
from unmask.core.errors import UsageError
from unmask.data.columns import USUAL
from unmask.data.files import read_path
from unmask.data.sources import Source

_log = logging.getLogger(__name__)
_BATCH = 1024


def prompts(name: str | Path, column: str | None = None) -> list[str]:
    """The prompts of a file (one a line, or one column of its rows), in order; what is left out is logged in one line.

    Args:
        name: a file, a folder or a pattern, as for :func:`unmask.data.text.load_texts`; a file of any ending.
        column: the prompts' column; None: ``prompt``, ``text`` or another usual name, or the only one.

    Raises:
        UsageError: there is no such file, it is no text in UTF-8 or UTF-16, or holds none.
    """
    source = _source(name, column, ("prompt", *USUAL))
    found = list(_texts(source, str(name)))
    if not found:
        raise UsageError(f"{str(name)!r} holds no text: one a line is wanted")
    return found


def prose(name: str | Path, column: str | None = None) -> str:
    """The text of a file as one: as it stands, or the rows of a column with a line break between them.

    Args:
        name: as in :func:`prompts`.
        column: the text's column; None: as :func:`unmask.data.columns.choose_columns` says.

    Raises:
        UsageError: there is no such file, it is no text in UTF-8 or UTF-16, or holds none.
    """
    source = _source(name, column, USUAL)
    if source.plain:
        lines = [line for (line,) in source.rows(range(len(source)))]
        # the last line of a file may lack its end, and another file come after it
        parts = [line if line.endswith(("\n", "\r")) else f"{line}\n" for line in lines[:-1]] + lines[-1:]
        text = "".join(parts).replace("\r\n", "\n").replace("\r", "\n")
        if _broken(text):
            raise UsageError(f"{str(name)!r} is damaged: it holds half of a surrogate pair")
        _say(source, str(name), {})
    else:
        text = "\n".join(_texts(source, str(name)))
    if not text.strip():
        raise UsageError(f"{str(name)!r} holds no text")
    return text


def _source(name: str | Path, column: str | None, usual: tuple[str, ...]) -> Source:
    wanted = None if column is None else (column,)
    source = read_path(str(name), wanted, usual=usual, any_ending=True, strict=True)
    if source is None:
        raise UsageError(f"there is no file {str(name)!r} with texts")
    return source


def _texts(source: Source, name: str) -> Iterator[str]:
    """The rows' texts without their line ends; those that are left out are counted in one line at the end."""
    empty = malformed = not_utf8 = 0
    for start in range(0, len(source), _BATCH):
        for (cell,) in source.rows(range(start, min(start + _BATCH, len(source)))):
            text = cell.rstrip("\r\n") if isinstance(cell, str) else None
            if text is None:
                malformed += 1
            elif not text.strip():
                empty += 1
            elif _broken(text):
                not_utf8 += 1
            else:
                yield text
    _say(source, name, {"empty": empty, "malformed": malformed, "not-utf8": not_utf8})


def _say(source: Source, name: str, counts: dict[str, int]) -> None:
    """Log one line where rows were left out, or the file was not read as it lies."""
    out = ", ".join(f"{count:,} {reason}" for reason, count in counts.items() if count)
    if (out or source.note) and distributed.is_main_process():
        note = f" ({source.note})" if source.note else ""
        left = f"; left out: {out}" if out else ""
        _log.warning(f"{name}{note}: {len(source):,} rows read, {len(source) - sum(counts.values()):,} kept{left}")


def _broken(text: str) -> bool:
    """Whether a text cannot be written in UTF-8: it holds half of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
