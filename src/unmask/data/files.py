"""Which rows a file, a folder or a pattern stands for: by its content first, then by its name.

docs/data_formats.md says the same for users.
"""

from __future__ import annotations

import glob
import os
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from unmask.core.errors import UsageError
from unmask.data import arrow_tables, encodings, json_tables
from unmask.data.columns import USUAL
from unmask.data.delimited import Delimited
from unmask.data.encodings import Opened, open_utf8
from unmask.data.sources import Lines, Several, Source
from unmask.data.tables import Table, source_of

#: endings (in any case) and the formats that they name
FORMATS = {
    ".txt": "txt",
    ".text": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
_PACKED = (".gz", ".bz2", ".xz")
_WANTED = ".txt, .jsonl, .json, .csv, .tsv, .parquet or .arrow, or one of the first five with .gz"
# more files than this are copied into one: each that stays open takes a file descriptor
_OPEN = 64
_ENDING = re.compile(r"\.(?=\w*[a-z])\w{1,12}$")
_PATTERN = re.compile(r"[*?\[]")


def format_of(path: Path) -> str:
    """The file format by the name's extension; "" without one, the extension itself where it is unknown."""
    ending = path.suffix.lower()
    if ending in _PACKED:
        ending = Path(path.stem).suffix.lower()
    # part.0001 and "notes 3.0 final" end in nothing that names a format
    return FORMATS.get(ending, ending if _ENDING.match(ending) else "")


def is_pattern(name: str) -> bool:
    """Whether a name is a pattern such as ``texts/*.txt``."""
    return bool(_PATTERN.search(name))


def looks_like_a_file(name: str) -> bool:
    """Whether a name that is not there was meant as a file's."""
    path = Path(name)
    return format_of(path) in FORMATS.values() or path.suffix.lower() in _PACKED or name.startswith((".", "/", "~"))


def read_file(
    path: Path,
    column: tuple[str, ...] | None,
    *,
    usual: Sequence[str] = USUAL,
    any_ending: bool = False,
    strict: bool = False,
) -> Source:
    """The rows of a file.

    Args:
        path: the file.
        column: the columns to read; None: as :func:`unmask.data.columns.choose_columns` says.
        usual: names of columns that are taken unasked.
        any_ending: a file whose ending is unknown is read as one without.
        strict: refuse the first byte that is not UTF-8.

    Raises:
        UsageError: it is no text or in another encoding, has another ending, or lacks the column; the message says
            what it is and what would be right.
    """
    found = _open(path, column, any_ending, strict)
    if isinstance(found, Source):
        return found
    source = source_of([found], column, str(path), usual)[0]
    source.note = found.note
    return source


def read_folder(
    path: Path, column: tuple[str, ...] | None, split: str, *, usual: Sequence[str] = USUAL, strict: bool = False
) -> Source:
    """The rows of a folder: written by ``save_to_disk``, or of files of one format; those of the split if any name it.

    Raises:
        UsageError: it holds no such files, files of several formats, or lacks the split or the column.
    """
    if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
        return source_of([arrow_tables.saved(path, split)], column, str(path), usual)[0]
    inside = sorted(f for f in path.rglob("*") if f.is_file() and not _aside(f.relative_to(path)))
    files = [f for f in inside if format_of(f) in FORMATS.values()] or [f for f in inside if format_of(f) == ""]
    if not files:
        raise UsageError(
            f"{path} holds no dataset: a folder from save_to_disk, or files that end in {_WANTED}, is wanted"
        )
    parts = rf"(?<![a-z]){re.escape(split.lower())}(?:ing)?(?![a-z])"
    named = [f for f in files if re.search(parts, f.relative_to(path).as_posix().lower())]
    if not named and split != "train":
        raise UsageError(f"{path} has no split {split!r}: no file in it is named after it, {files[0].name} for one")
    chosen = named or files
    source = _read_files(chosen, column, str(path), usual, strict)
    rest = [f for f in inside if f not in set(chosen)]
    aside = f"; not read: {', '.join(f.name for f in rest[:3])}{' ...' if len(rest) > 3 else ''}" if rest else ""
    source.note = f"{len(chosen):,} file{'s' if len(chosen) > 1 else ''}{aside}"
    return source


def read_pattern(
    name: str, column: tuple[str, ...] | None, *, usual: Sequence[str] = USUAL, strict: bool = False
) -> Source:
    """The rows of the files that a pattern such as ``texts/*.txt`` names, in the order of their names.

    Raises:
        UsageError: it names none, or files of several formats.
    """
    files = sorted(Path(f) for f in glob.glob(str(Path(name).expanduser()), recursive=True) if Path(f).is_file())
    if not files:
        raise UsageError(f"no file is named like {name!r}")
    source = _read_files(files, column, name, usual, strict)
    source.note = f"{len(files):,} file{'s' if len(files) > 1 else ''}"
    return source


def read_path(
    name: str,
    column: tuple[str, ...] | None,
    *,
    split: str = "train",
    usual: Sequence[str] = USUAL,
    any_ending: bool = False,
    strict: bool = False,
) -> Source | None:
    """The rows of a file, a folder's split or a pattern; None where there is none of this name.

    Raises:
        UsageError: see :func:`read_file`, :func:`read_folder`, :func:`read_pattern`.
    """
    path = Path(name).expanduser()
    if os.path.isdir(path):  # os.path's tests also bear names that are too long for a file
        return read_folder(path, column, split, usual=usual, strict=strict)
    if os.path.exists(path):
        return read_file(path, column, usual=usual, any_ending=any_ending, strict=strict)
    return read_pattern(name, column, usual=usual, strict=strict) if is_pattern(name) else None


def _aside(path: Path) -> bool:
    """Whether a file stands beside a folder's data and is none of it."""
    hidden = any(part.startswith((".", "_")) for part in path.parts)
    return hidden or path.stem.upper() in ("README", "LICENSE", "LICENCE", "DATASET_INFOS") or path.suffix == ".lock"


def _open(path: Path, column: tuple[str, ...] | None, any_ending: bool, strict: bool) -> Table | Source:
    """A file as a table whose column is still to be chosen, or as a source where there is none to choose."""
    kind, says, where = format_of(path), encodings.signature(path), str(path)
    if says == encodings.PARQUET or (kind == "parquet" and not says):
        return arrow_tables.ParquetTable([path], where)
    if says == encodings.ARROW or (kind == "arrow" and not says):
        return arrow_tables.arrow_files([path], where)
    if kind and kind not in FORMATS.values():
        if not (any_ending or says):
            raise UsageError(f"{path} ends in {path.suffix}: files of texts end in {_WANTED}")
        kind = ""
    found = _rows(open_utf8(path, strict), kind, where)
    if isinstance(found, Source):
        _no_column(found, column, where)
    return found


def _rows(opened: Opened, kind: str, where: str) -> Table | Source:
    found: Table | Source
    if kind in ("", "txt"):
        holds = json_tables.json_layout(opened.file)
        if kind == "txt" and holds == "objects":
            raise UsageError(f"{where} holds a JSON object a line: name it .jsonl, and one column of it is read")
        kind = "json" if holds and kind == "" else "txt"
    if kind == "jsonl":
        found = json_tables.open_lines(opened.file, where)
    elif kind == "json":
        found = json_tables.open_document(opened.file, where)
    elif kind in ("csv", "tsv"):
        found = Delimited(opened.file, where, tabs=kind == "tsv")
    else:
        found = Lines(opened.file)
    found.note = opened.note
    return found


def _no_column(source: Source, column: tuple[str, ...] | None, where: str) -> None:
    if column is not None and len(source):
        what = "plain text" if source.plain else "made of strings"
        raise UsageError(f"{where} is {what} and has no column {column[0]!r}: leave column out")


def _read_files(
    files: Sequence[Path], column: tuple[str, ...] | None, where: str, usual: Sequence[str], strict: bool
) -> Source:
    kinds = Counter(format_of(f) for f in files)
    if len(kinds) > 1:
        counts = ", ".join(f"{count:,} {kind or 'without an ending'}" for kind, count in kinds.most_common())
        raise UsageError(
            f"{where} holds files of several formats ({counts}): keep those of one, or give a pattern, '*.txt'"
        )
    (kind,) = kinds
    found: list[Table | Source]
    if kind == "parquet":
        found = [arrow_tables.ParquetTable(files, where)]
    elif kind == "arrow":
        found = [arrow_tables.arrow_files(files, where)]
    elif kind in ("txt", "jsonl", "") and len(files) > _OPEN:
        found = [_rows(Opened(_joined(files, strict)), kind, where)]
    else:
        found = [_open(f, column, True, strict) for f in files]
    for part in found:
        if isinstance(part, Source):
            _no_column(part, column, where)
    tables = [table for table in found if isinstance(table, Table)]
    read = iter(source_of(tables, column, where, usual) if tables else [])
    return Several([next(read) if isinstance(part, Table) else part for part in found])


def _joined(files: Sequence[Path], strict: bool) -> BinaryIO:
    """The lines of many files as those of one."""
    whole: Any = tempfile.TemporaryFile()
    for path in files:
        lines = Lines(open_utf8(path, strict).file)
        for i in range(len(lines)):
            whole.write(lines.line(i).rstrip("\r\n").encode("utf-8", "surrogateescape") + b"\n")
    whole.flush()
    return whole  # type: ignore[no-any-return]
