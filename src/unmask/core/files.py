"""Files that are whole: a reader sees the old one or the new one, never half of it, whenever the process dies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``, which replaces it atomically when the block ends without an error.

    After an error nothing is left, and what stood at ``path`` still does. Two processes may write one path: each has a
    name of its own, and the later one stays.
    """
    path = Path(path)
    # hidden, and with the ending that libraries look at
    partial = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.partial{path.suffix}")
    try:
        yield partial
        with open(partial, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text; folders on the way are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def write_json(path: str | Path, tree: Any) -> Path:
    """Write a tree of plain values as indented JSON."""
    return write_text(path, json.dumps(tree, indent=2, ensure_ascii=False) + "\n")


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """The folder for what can be made again: ``cache_dir``, else ``$UNMASK_CACHE``, else ``~/.cache/unmask``."""
    return Path(cache_dir or os.environ.get("UNMASK_CACHE") or "~/.cache/unmask").expanduser()


def sha256(path: str | Path) -> str:
    """The SHA-256 digest of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
