from __future__ import annotations

from dataclasses import dataclass

from unmask.core.errors import UsageError
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Subject, Wrapped


@dataclass(frozen=True)
class OneTokenBlocks(Fault):
    """A block is one BPE token, so a number of several tokens is not written from its last digit on."""

    caught_by = "whole_blocks"
    kinds = ("causal",)
    reference = "public repository LaurenceLong/TidalTransformer"

    def inject(self, subject: Subject) -> Subject:
        tokenizer = subject.tokenizer
        if tokenizer is None:
            raise UsageError("this fault cuts texts into tokens, and the subject has no tokenizer")

        class Cut(Wrapped):
            def blocks(self, n: int) -> list[list[str]]:
                texts = self.inner.data(n).texts or ()
                ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
                return [[tokenizer.decode([i]) for i in row] for row in ids]

        return Cut(subject)
