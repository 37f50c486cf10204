"""What a search knows of a model's training texts: their words, how they are written, in what order, and in a vector.

Made once from the training texts and their vectors, and kept as one file beside the model or in the user's cache.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unmask.core.errors import CheckpointError
from unmask.core.files import replacing
from unmask.core.random import generator
from unmask.search.trigram import Trigram
from unmask.search.units import Spelling
from unmask.search.word_probe import WordProbe

#: the file's name beside a model, and what it says it is
FILE, FORMAT = "lexicon.safetensors", "unmask-lexicon-1"
#: texts that the probe is fitted on: clauses and runs of them, and whole ones
_CLAUSES, _WHOLE, _LONGEST = 14_000, 9_000, 40
_CLAUSE = re.compile(r"(?<=[,;:.?!])\s+")

#: letters of a stem that words are looked up by
_STEM = 3

Encode = Callable[[Sequence[str]], Tensor]


@dataclass(frozen=True)
class Lexicon:
    """Words with their ids, and what is known of them.

    Attributes:
        words: every word and mark that training has twice or more, the most frequent first.
        spelling: how units become a text.
        trigram: which order is likely.
        probe: which words a vector holds.
    """

    words: tuple[str, ...]
    spelling: Spelling
    trigram: Trigram
    probe: WordProbe

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ids", {word: i for i, word in enumerate(self.words)})

    def ids(self, units: Sequence[str]) -> list[int]:
        """Ids of units; one that is not known has the id ``len(words)``."""
        known, other = self._ids, len(self.words)  # type: ignore[attr-defined]
        return [known.get(unit, other) for unit in units]

    @cached_property
    def _stems(self) -> dict[str, list[int]]:
        """Words of three letters and more by their first three."""
        found: dict[str, list[int]] = {}
        for i, word in enumerate(self.words):
            if len(word) >= _STEM:
                found.setdefault(word[:_STEM], []).append(i)
        return found

    def beginning(self, word: str, letters: int = 3) -> list[int]:
        """Ids of the words that have a word's first letters (three at least)."""
        if len(word) < max(letters, _STEM):
            return []
        return [i for i in self._stems.get(word[:_STEM], ()) if self.words[i][:letters] == word[:letters]]

    @classmethod
    def made(cls, texts: Sequence[str], encode: Encode, uncased: bool, seed: int = 0) -> Lexicon:
        """From training texts; ``encode`` gives vectors [N, Z] of texts."""
        spelling = Spelling.learnt(texts, uncased)
        cuts = [spelling.cut(text) for text in texts]
        counts = Counter(unit for units in cuts for unit in units)
        words = tuple(word for word, count in counts.most_common() if count >= 2) or tuple(counts)
        ids = {word: i for i, word in enumerate(words)}
        trigram = Trigram.counted(([ids.get(u, len(words)) for u in units] for units in cuts), len(words))
        sample = _sample(texts, spelling, seed)
        rows = [[ids.get(u, len(words)) for u in spelling.cut(text)] for text in sample]
        return cls(words, spelling, trigram, WordProbe.fitted(encode(sample).float().cpu(), rows, len(words), seed))

    # -- its file ---------------------------------------------------------------------------------------------------
    def save(self, path: str | Path) -> Path:
        """Write it; tables of floats in half precision."""
        from safetensors.torch import save_file

        tree = {name: getattr(self.probe, name) for name in (f.name for f in fields(WordProbe))}
        tensors = {f"probe.{name}": value.contiguous() for name, value in tree.items()}
        for name in ("read_ZW", "write_WZ"):
            tensors[f"probe.{name}"] = tensors[f"probe.{name}"].half()
        tensors["trigram.unigram"] = torch.from_numpy(self.trigram.unigram)
        for name in ("bigrams", "trigrams"):
            keys, count = getattr(self.trigram, name)
            tensors[f"trigram.{name}.keys"] = torch.from_numpy(keys)
            tensors[f"trigram.{name}.counts"] = torch.from_numpy(np.minimum(count, 2**31 - 1).astype(np.int32))
        about = {
            "words": self.words,
            "uncased": self.spelling.uncased,
            "case": dict(self.spelling.case),
            "glue": dict(self.spelling.glue),
        }
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            save_file(tensors, partial, {"format": FORMAT, "about": json.dumps(about, ensure_ascii=False)})
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Lexicon:
        """What :meth:`save` wrote.

        Raises:
            CheckpointError: it is no such file.
        """
        from safetensors import safe_open

        try:
            with safe_open(path, "pt") as file:
                meta = file.metadata() or {}
                if meta.get("format") != FORMAT:
                    raise ValueError(f"format {meta.get('format')!r} is not {FORMAT!r}")
                about = json.loads(meta["about"])
                found = {name: file.get_tensor(name) for name in file.keys()}
            table = {
                name: (found[f"trigram.{name}.keys"].numpy(), found[f"trigram.{name}.counts"].numpy().astype(np.int64))
                for name in ("bigrams", "trigrams")
            }
            words = tuple(about["words"])
            glue = {mark: (bool(a), bool(b)) for mark, (a, b) in about["glue"].items()}
            return cls(
                words,
                Spelling(about["uncased"], about["case"], glue),
                Trigram(len(words), found["trigram.unigram"].numpy(), table["bigrams"], table["trigrams"]),
                WordProbe(**{f.name: found[f"probe.{f.name}"].float() for f in fields(WordProbe)}),
            )
        except Exception as error:  # safetensors says of a damaged file no more than Exception
            raise CheckpointError(f"{str(path)!r} is no lexicon of a search: {error}") from error


def _sample(texts: Sequence[str], spelling: Spelling, seed: int) -> list[str]:
    """Texts for the probe: clauses and runs of them, as short as what is to be found, and whole texts."""
    draw = generator(seed, 3)
    order = torch.randperm(len(texts), generator=draw).tolist()
    found: dict[str, None] = {}
    for n in order[:_CLAUSES]:
        parts = _CLAUSE.split(texts[n])
        take, u = torch.rand(2, generator=draw).tolist()
        count = (1, 1, 2, 3)[int(take * 4)]
        at = int(u * max(1, len(parts) - count + 1))
        part = " ".join(parts[at : at + count])
        found[part[:1].upper() + part[1:]] = None
    for n in order[-_WHOLE:]:
        found[texts[n]] = None
    return [text for text in found if 1 < len(spelling.cut(text)) <= _LONGEST] or list(texts)
