"""Texts and pairs for training and evaluation, from the hub, a folder, a file, or a corpus that packages ship.

Every row is looked at once. What cannot be used is counted, never a crash. The split does not depend on the order or
the number of rows: a row is held out if the hash of its identity falls below the fraction. A verse's identity is
its id in every translation, so that a model trained on verses and then on pairs is tested on verses that it has seen in
neither; any other row's identity is its text, so that no text lies on both sides.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from unmask.core.errors import UsageError, did_you_mean
from unmask.core.random import Stream, generator, uniform
from unmask.data import corpora, english
from unmask.data.arrow_tables import read_hub
from unmask.data.crops import Crops, cut
from unmask.data.files import is_pattern, looks_like_a_file, read_path
from unmask.data.memmap import give_back, kept, room
from unmask.data.sources import InMemorySource, Source
from unmask.data.text_report import TextReport as TextReport

_BATCH = 4096
# C0 and C1 controls but tab, line feed and carriage return
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class Texts(Sequence[str]):
    """A lazy sequence of cleaned texts, one column of a source. A slice is a ``Texts`` too."""

    def __init__(self, source: Source, numbers: NDArray[np.int64], column: int = 0) -> None:
        self._source, self._numbers, self._column = source, numbers, column

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Texts: ...
    def __getitem__(self, at: int | slice) -> str | Texts:
        if isinstance(at, slice):
            return Texts(self._source, self._numbers[at], self._column)
        return clean(self._source.rows([int(self._numbers[at])])[0][self._column])

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _BATCH):
            for row in self._source.rows(self._numbers[start : start + _BATCH].tolist()):
                yield clean(row[self._column])


class Pairs(Sequence[tuple[str, str]]):
    """A lazy sequence of (source, target) texts; ``sources`` and ``targets`` are its columns."""

    def __init__(self, sources: Sequence[str], targets: Sequence[str]) -> None:
        self.sources, self.targets = sources, targets

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, at: int) -> tuple[str, str]: ...
    @overload
    def __getitem__(self, at: slice) -> Pairs: ...
    def __getitem__(self, at: int | slice) -> tuple[str, str] | Pairs:
        if isinstance(at, slice):
            return Pairs(self.sources[at], self.targets[at])
        return self.sources[at], self.targets[at]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return zip(self.sources, self.targets, strict=True)


@dataclass(frozen=True)
class TextData:
    """The training and held-out split of a corpus.

    Attributes:
        train, validation: what a decoder writes: the texts, or the targets of the pairs.
        train_pairs, validation_pairs: (what the encoder reads, what the decoder writes), None for plain texts.
        report: what became of the rows.
        fingerprint: a hash of every text, in order.
    """

    train: Sequence[str]
    validation: Sequence[str]
    report: TextReport
    train_pairs: Pairs | None = None
    validation_pairs: Pairs | None = None
    fingerprint: str = ""


def load_texts(
    source: str | Path,
    *,
    column: str | Sequence[str] | None = None,
    split: str = "train",
    limit: int | None = None,
    seed: int = 0,
    validation: float | str = 0.02,
    max_chars: int = 20_000,
    deduplicate: bool = True,
    crops: str | Sequence[str] | None = None,
    crop_words: tuple[int, int] = (3, 32),
    near_duplicates: float | None = None,
) -> TextData:
    """Texts or pairs from a corpus name, a file, a folder or the hub, cleaned, counted and split.

    Args:
        source: ``verses`` (World English Bible), ``verses-kjv``, ``verses-asv``, ``verses-bbe``, ``verses-ylt``, all of
            them (``verses-all``), the pairs ``kjv-web``, ``kjv-bbe``, ``web-bbe``, ``kjv-asv``, the glosses
            ``wordnet``, the sentences ``english`` (:mod:`unmask.data.english`); a .txt, .jsonl, .json, .csv, .tsv,
            .parquet or .arrow file, also with .gz; a folder of such files or from ``save_to_disk``; a pattern
            (``texts/*.txt``); or a hub dataset, ``name[:config]``. docs/data_formats.md says how each is read.
        column: the text's column, with dots into nested ones; two columns (source, target) make pairs. None: ``text``,
            another usual name, or the only one if it holds texts.
        split: which split of a hub dataset or a folder.
        limit: look at no more than this many rows, drawn by the seed.
        seed: of the split and of ``limit``.
        validation: the fraction held out, or the name of the split that is.
        max_chars: longer rows are left out and counted.
        deduplicate: leave out rows that repeat an earlier one.
        crops: what to cut out of the rows, once they are split, such as ``"whole,sentences,clauses"``
            (:class:`unmask.data.crops.Crops` says which there are): every crop is then a text, in memory.
        crop_words: the least and the most words of a crop.
        near_duplicates: leave out what is to train on if more than this share of its word 6-grams stands in one
            held-out row (:mod:`unmask.data.near_duplicates`); rows first, then crops. None leaves none out.

    Raises:
        UsageError: the source, a column, a split or a value cannot be used; the message says what would be right.
    """
    columns = (column,) if isinstance(column, str) else tuple(column) if column is not None else None
    if columns is not None and len(columns) not in (1, 2):
        raise UsageError(f"column={columns} must be one name, or two for pairs")
    if limit is not None and limit < 1:
        raise UsageError(f"limit={limit} must be at least 1")
    if not isinstance(validation, str) and not 0 <= validation < 1:
        raise UsageError(f"validation={validation} must lie in [0, 1), or be the name of a split")
    if near_duplicates is not None and not 0 <= near_duplicates < 1:
        raise UsageError(f"near_duplicates={near_duplicates} must lie in [0, 1): the share above which one is left out")
    kinds = Crops.read(crops, *crop_words)
    table = _open(str(source), columns, split)
    scan = _Scan(table, limit, seed, max_chars)
    if isinstance(validation, str):
        held_table = _open(str(source), columns, validation)
        held_scan = _Scan(held_table, limit, seed, max_chars)
        train, held = scan.everything(), held_scan.everything()
    else:
        held_table, held_scan = table, scan
        train, held = scan.split(validation, seed)
    # The same text can stand under two verse ids, in two pairs or in two splits. Whichever comes first, it is then one
    # to train on: a text held out here must not be one to train on in another corpus of the same verses.
    seen = np.isin(held_scan.hash_NC[held], scan.hash_NC[train]).any(1)
    counts: dict[str, Any] = dict(scan.counts)
    if held_scan is not scan:
        counts = {name: counts[name] + held_scan.counts[name] for name in counts}
    usable = len(train) + len(held)
    train, held = scan.first_of(train, deduplicate), held_scan.first_of(held[~seen], deduplicate)
    counts["duplicates"] = usable - len(train) - len(held)
    report = TextReport(str(source), train=len(train), validation=len(held), **counts, note=table.note)
    if not len(train):
        out = f", {report.left_out}" if report.left_out else ""
        raise UsageError(f"{source} holds no usable text: {report.read:,} rows read{out}")
    numbers = kept(scan.number_N[train]), kept(held_scan.number_N[held])
    parts = [_columns(table, numbers[0]), _columns(held_table, numbers[1])]
    mark = hashlib.sha256(scan.hash_NC[train].tobytes())
    mark.update(held_scan.hash_NC[held].tobytes())
    del scan, held_scan, train, held, seen
    give_back()
    if len(parts[0]) == 1:
        data = TextData(parts[0][0], parts[1][0], report, fingerprint=mark.hexdigest())
        return data if kinds is None and near_duplicates is None else _cut(data, kinds, near_duplicates)
    if kinds is not None or near_duplicates is not None:
        raise UsageError(f"{source} holds pairs: crops and near_duplicates are of single texts")
    pairs = [Pairs(*part) for part in parts]
    return TextData(pairs[0].targets, pairs[1].targets, report, pairs[0], pairs[1], mark.hexdigest())


def _cut(data: TextData, crops: Crops | None, share: float | None) -> TextData:
    """The texts without near-duplicates, and what is cut out of them."""
    made = cut(data.train, data.validation, crops, share)
    report = replace(
        data.report,
        train=data.report.train - made.near_duplicates,
        near_duplicates=made.near_duplicates,
        crops=made.train_kinds,
        held_out_crops=made.validation_kinds,
        near_duplicate_crops=made.near_duplicate_crops,
        repeated_crops=made.repeated,
    )
    if not made.train:
        raise UsageError(f"{report.source}: nothing is left to train on: {report}")
    mark = hashlib.sha256(f"{data.fingerprint} {crops} {share}".encode()).hexdigest()
    return TextData(made.train, made.validation, report, fingerprint=mark)


def require_texts(source: str | Path, column: str | Sequence[str] | None = None) -> None:
    """Refuse a file, folder or pattern that holds no text, at the cost of opening it: before other work starts.

    Corpora, which are known to hold some, and names on the hub are looked at when they are read.

    Raises:
        UsageError: as :func:`load_texts`.
    """
    name = str(source)
    if name not in corpora.NAMES and not (
        os.path.exists(Path(name).expanduser()) or is_pattern(name) or looks_like_a_file(name)
    ):
        return
    columns = (column,) if isinstance(column, str) else tuple(column) if column is not None else None
    if name in corpora.NAMES and columns is None:
        return
    table = _open(name, columns, "train")
    for start in range(0, len(table), _BATCH):
        batch = range(start, min(start + _BATCH, len(table)))
        if any(isinstance(cell, str) and clean(cell) for row in table.rows(batch) for cell in row):
            return
    load_texts(source, column=column, validation=0.0)  # says what is wrong with its rows


def evenly(total: int, count: int) -> list[int]:
    """``count`` indices spread evenly over ``total``, or all of them: the start of a corpus is not the corpus."""
    if count >= total:
        return list(range(total))
    return [i * total // count for i in range(count)]


def clean(cell: Any) -> str:
    """A cell without control characters and outer white space."""
    return _CONTROL.sub("", str(cell)).strip()


def _columns(table: Source, numbers: NDArray[np.int64]) -> list[Sequence[str]]:
    width = len(table.rows([0])[0])
    lazy = [Texts(table, numbers, c) for c in range(width)]
    return [list(texts) for texts in lazy] if table.in_memory else list(lazy)


def _open(name: str, columns: tuple[str, ...] | None, split: str) -> Source:
    if name in (*corpora.NAMES, english.NAME) and columns is not None:
        raise UsageError(f"{name} has no column {', '.join(columns)!r}: it is read whole, without column=")
    if name in corpora.VERSES:
        found = corpora.verses(corpora.VERSES[name])
        return InMemorySource([(text,) for text in found.values()], list(found))
    if name in corpora.VERSE_PAIRS:
        pairs = corpora.verse_pairs(*corpora.VERSE_PAIRS[name])
        return InMemorySource(list(pairs.values()), list(pairs))
    if name == corpora.VERSES_ALL:
        rows = corpora.all_verses()
        return InMemorySource([(text,) for _, text in rows], [i for i, _ in rows])
    if name == english.NAME:
        sentences = english.load()
        return InMemorySource([(one.text,) for one in sentences], [one.key for one in sentences])
    if name == corpora.WORDNET:
        return InMemorySource([(gloss,) for gloss in corpora.wordnet_glosses()])
    found_here = read_path(name, columns, split=split)
    if found_here is not None:
        return found_here
    if looks_like_a_file(name):
        raise UsageError(f"there is no file {name}")
    try:
        return read_hub(name, columns, split)
    except UsageError as error:
        raise UsageError(
            f"{error} (corpora that need no network: {did_you_mean(name, (*corpora.NAMES, english.NAME))})"
        ) from error


class _Scan:
    """One look at every row: which are usable, and the hashes of their texts.

    Attributes:
        number_N: row numbers of the usable rows.
        hash_NC: 64-bit hashes of their cells.
        key_N: what the split goes by.
        counts: rows read and left out, by reason.
    """

    def __init__(self, table: Source, limit: int | None, seed: int, max_chars: int) -> None:
        self.counts = dict.fromkeys(("read", "empty", "over_long", "not_utf8", "malformed", "control"), 0)
        everything: Sequence[int] | NDArray[np.int64] = range(len(table))
        if limit is not None and limit < len(table):
            drawn = torch.randperm(len(table), generator=generator(seed, Stream.SHUFFLE))[:limit]
            everything = drawn.sort().values.numpy()
        self.counts["read"] = len(everything)
        width = len(table.rows([0])[0]) if len(table) else 1
        number_N, hash_NC, n = room((len(everything),), np.int64), room((len(everything), width), np.int64), 0
        for start in range(0, len(everything), _BATCH):
            batch = [int(i) for i in everything[start : start + _BATCH]]
            good, hashed = [], []
            for i, row in zip(batch, table.rows(batch), strict=True):
                cells = self._judge(row, max_chars)
                if cells is not None:
                    good.append(i)
                    hashed.append(cells)
            number_N[n : n + len(good)] = good
            hash_NC[n : n + len(good)] = np.frombuffer(b"".join(hashed), np.int64).reshape(len(good), width)
            n += len(good)
        self.number_N, self.hash_NC = number_N[:n], hash_NC[:n]
        self.key_N = self.hash_NC[:, 0] if table.keys is None else table.keys[self.number_N]

    def _judge(self, row: tuple[Any, ...], max_chars: int) -> bytes | None:
        """The hashes of a usable row's cells; None (and one count) for a row that is left out."""
        if not all(isinstance(cell, str) for cell in row):
            self.counts["malformed"] += 1
            return None
        texts = [clean(cell) for cell in row]
        try:
            encoded = [text.encode("utf-8") for text in texts]
        except UnicodeEncodeError:  # a lone surrogate stands for a byte that was not UTF-8
            self.counts["not_utf8"] += 1
            return None
        if not all(texts):
            self.counts["empty"] += 1
            return None
        if any(len(text) > max_chars for text in texts):
            self.counts["over_long"] += 1
            return None
        self.counts["control"] += any(_CONTROL.search(cell) for cell in row)
        return b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in encoded)

    def everything(self) -> NDArray[np.int64]:
        return np.arange(len(self.number_N))

    def first_of(self, places: NDArray[np.int64], deduplicate: bool) -> NDArray[np.int64]:
        """``places`` without those whose row repeats an earlier one."""
        if not deduplicate or not len(places):
            return places
        # one number a row: a mix of its cells' hashes
        mix = np.array([1, 0x9E3779B97F4A7C1], np.int64)[: self.hash_NC.shape[1]]
        row_N = (self.hash_NC[places] * mix).sum(1)
        return places[np.sort(np.unique(row_N, return_index=True)[1])]

    def split(self, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions to train on and positions held out; at least one of each where there are two identities."""
        draw_N = uniform(seed, torch.from_numpy(np.ascontiguousarray(self.key_N)), Stream.SHUFFLE).numpy()
        held_N = draw_N < fraction
        if fraction and len(draw_N) and not held_N.any():
            held_N = (draw_N == draw_N.min()) & (draw_N.min() < draw_N.max())
        if held_N.all() and len(draw_N):
            held_N = draw_N < draw_N.max()
        return np.flatnonzero(~held_N), np.flatnonzero(held_N)
