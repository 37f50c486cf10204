"""Crops: every clause, sentence and window of sentences of a text as a text of its own.

Each of them has a semantic vector of its own, so a corpus holds many times as many (vector, text) pairs as texts. A
crop belongs to the side of the split on which its text is. One that repeats another is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.core.errors import UsageError, did_you_mean
from unmask.data.near_duplicates import N, near_duplicates, same_words
from unmask.data.sentences import bare, clauses, sentences

#: what can be cut out of a text
KINDS = ("whole", "sentences", "clauses", "windows", "runs")
#: sentences of a window, clauses of a run, at most
WIDEST = 4


@dataclass(frozen=True)
class Crops:
    """The kinds of crops that a text is cut into.

    Attributes:
        kinds: of :data:`KINDS`. ``whole``: the text itself. ``sentences``, ``clauses``: each of them. ``windows``: two
            to four neighbouring sentences. ``runs``: two to four neighbouring clauses of a sentence.
        min_words, max_words: how many words (parts between spaces) a crop has, the whole text too.

    Raises:
        UsageError: an unknown kind or bounds that leave nothing.
    """

    kinds: tuple[str, ...] = ("whole", "sentences", "clauses", "windows")
    min_words: int = 3
    max_words: int = 32

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise UsageError(f"crops={kind!r} is no kind of crop: {did_you_mean(kind, KINDS)}")
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise UsageError(f"crops={','.join(self.kinds)!r} must name kinds of crops, each once: {', '.join(KINDS)}")
        if not 1 <= self.min_words <= self.max_words:
            raise UsageError(
                f"crop_min_words={self.min_words} and crop_max_words={self.max_words} must be at least 1, in this order"
            )

    @classmethod
    def read(cls, kinds: str | Sequence[str] | None, min_words: int = 3, max_words: int = 32) -> Crops | None:
        """The crops that a recipe names: ``"whole,sentences"``, ``["whole", "sentences"]``, or ``"none"`` (or None)."""
        if kinds is None or kinds == "none":
            return None
        parts = kinds.split(",") if isinstance(kinds, str) else kinds
        return cls(tuple(str(kind).strip() for kind in parts), min_words, max_words)

    @property
    def held_out(self) -> Crops:
        """What is cut out of held-out texts: they and their sentences, which are what a reader would ask for."""
        kinds = tuple(kind for kind in self.kinds if kind in ("whole", "sentences"))
        return Crops(kinds or self.kinds, self.min_words, self.max_words)

    def of(self, text: str) -> list[tuple[str, str]]:
        """(kind, crop) of one text, in a fixed order; nothing twice, and what is both whole and sentence is whole."""
        found: dict[str, str] = {}
        for kind, crop in self._cut(text):
            if crop not in found and self.min_words <= len(crop.split()) <= self.max_words:
                found[crop] = kind
        return [(kind, crop) for crop, kind in found.items()]

    def _cut(self, text: str) -> Iterator[tuple[str, str]]:
        if "whole" in self.kinds:
            yield "whole", text
        parts = sentences(text)
        if "sentences" in self.kinds:
            yield from (("sentences", bare(part)) for part in parts)
        inner = [clauses(part) for part in parts] if {"clauses", "runs"} & set(self.kinds) else []
        if "clauses" in self.kinds:
            yield from (("clauses", bare(clause)) for found in inner for clause in found)
        if "windows" in self.kinds:
            yield from (("windows", bare(window)) for window in _windows(parts))
        if "runs" in self.kinds:
            yield from (("runs", bare(run)) for found in inner for run in _windows(found))


def crop_all(texts: Iterable[str], crops: Crops, kinds: list[str] | None = None) -> tuple[list[str], dict[str, int]]:
    """(the crops of all texts, without repetitions and in order; how many of each kind).

    Args:
        texts: in any number.
        crops: which.
        kinds: filled with the kind of each crop, where given.
    """
    seen: set[bytes] = set()
    found: list[str] = []
    counts = dict.fromkeys(crops.kinds, 0)
    for text in texts:
        for kind, crop in crops.of(text):
            mark = hashlib.blake2b(crop.encode(), digest_size=8).digest()
            if mark not in seen:
                seen.add(mark)
                found.append(crop)
                counts[kind] += 1
                if kinds is not None:
                    kinds.append(kind)
    return found, counts


@dataclass(frozen=True)
class Cut:
    """Texts without near-duplicates, or what was cut out of them.

    Attributes:
        train, validation: the texts.
        train_kinds, validation_kinds: how many of each kind; empty where nothing was cut.
        near_duplicates: texts to train on that were left out; ``near_duplicate_crops`` of what was cut out of the rest.
        repeated: held-out crops that were left out since they are among those to train on.
    """

    train: list[str]
    validation: list[str]
    train_kinds: dict[str, int]
    validation_kinds: dict[str, int]
    near_duplicates: int = 0
    near_duplicate_crops: int = 0
    repeated: int = 0


def cut(train: Iterable[str], held_out: Iterable[str], crops: Crops | None, share: float | None) -> Cut:
    """Training texts without near-duplicates of held-out ones, and the crops of both.

    Args:
        train, held_out: texts, split already.
        crops: which; None leaves the texts whole.
        share: of a text's word n-grams, above which it is a near-duplicate; None leaves all in.
    """
    rows, held = list(train), list(held_out)
    validation, validation_kinds = (held, {}) if crops is None else crop_all(held, crops.held_out)
    dropped = dropped_crops = repeated = 0
    # the n-grams of a crop are its text's, but for a crop that is shorter than one
    index = [*held, *(text for text in validation if len(text.split()) < N)] if share is not None else []
    if share is not None:
        rows, dropped = _without(rows, near_duplicates(rows, index, share))
    if crops is None:
        return Cut(rows, validation, {}, {}, dropped)
    kinds: list[str] = []
    found, _ = crop_all(rows, crops, kinds)
    if share is not None:
        near = near_duplicates(found, index, share)
        kinds = [kind for kind, out in zip(kinds, near.tolist(), strict=True) if not out]
        found, dropped_crops = _without(found, near)
    else:
        # otherwise none of them is left to train on
        validation, repeated = _without(validation, same_words(validation, found))
    counts = {kind: kinds.count(kind) for kind in crops.kinds}
    return Cut(found, validation, counts, validation_kinds, dropped, dropped_crops, repeated)


def _without(texts: list[str], out: NDArray[np.bool_]) -> tuple[list[str], int]:
    """(those that are not left out, how many are)."""
    return [text for text, leave in zip(texts, out.tolist(), strict=True) if not leave], int(out.sum())


def _windows(parts: Sequence[str]) -> Iterator[str]:
    """Two to :data:`WIDEST` neighbours, all of them but those that are the whole."""
    for width in range(2, min(WIDEST, len(parts) - 1) + 1):
        for start in range(len(parts) - width + 1):
            yield " ".join(parts[start : start + width])
