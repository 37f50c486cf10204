from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Subject, Wrapped


class _Swapped:
    """Reads and writes with the ids of a table whose ordinary entries stand in another order."""

    def __init__(self, inner: Any, size: int, special: set[int]) -> None:
        self.inner, self.special = inner, special
        plain = [i for i in range(size) if i not in special]
        self.there = dict(zip(plain, plain[1:] + plain[:1], strict=True))
        self.back = {v: k for k, v in self.there.items()}

    def __len__(self) -> int:
        return len(self.inner)

    def encode(self, text: str, **settings: Any) -> list[int]:
        return [self.there.get(i, i) for i in self.inner.encode(text, **settings)]

    def decode(self, ids: list[int]) -> str:
        return str(self.inner.decode([self.back.get(i, i) for i in ids]))


@dataclass(frozen=True)
class WrongTokenizer(Fault):
    """The tokenizer is not the one that the training data was made with."""

    caught_by = "vocabulary"
    kinds = ("masked", "causal")

    def inject(self, subject: Subject) -> Subject:
        other = Wrapped(subject)
        special = {i for i in (subject.mask_id, subject.pad_id, subject.eos_id) if i is not None}
        other.tokenizer = _Swapped(subject.tokenizer, subject.vocab_size, special)
        return other
