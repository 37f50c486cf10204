"""How many tokens of some texts a tokenizer does not know: with the wrong one, numbers come out all the same."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from unmask.core.errors import UsageError

log = logging.getLogger("unmask")

#: share of unknown tokens above which numbers say nothing
USELESS = 0.9


@dataclass(frozen=True)
class UnknownTokens:
    """How many tokens of some texts a tokenizer does not know.

    Attributes:
        unknown, tokens: counts.
        word: how the tokenizer spells what it does not know; None for one that knows everything.
    """

    unknown: int
    tokens: int
    word: str | None = None

    @property
    def share(self) -> float:
        return self.unknown / self.tokens if self.tokens else 0.0

    def __str__(self) -> str:
        """``2.5 % of the tokens are unknown ([UNK])``; empty where none is."""
        if not self.unknown:
            return ""
        percent = 100 * self.share
        shown = "under 0.1" if percent < 0.1 else f"{percent:.1f}" if self.unknown < self.tokens else "100"
        return f"{shown} % of the tokens are unknown ({self.word})"


def unknown_tokens(tokenizer: Any, texts: Sequence[str]) -> UnknownTokens:
    """How many of the texts' tokens are the tokenizer's unknown token."""
    rows = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if len(texts) else []
    return unknown_ids(tokenizer, rows)


def unknown_ids(tokenizer: Any, rows: Iterable[Sequence[int]]) -> UnknownTokens:
    """How many of the ids are the tokenizer's unknown token."""
    # GPT-2's unknown token is its end of text: a tokenizer of bytes knows everything
    unk = getattr(tokenizer, "unk_token_id", None)
    others = ("eos_token_id", "bos_token_id", "pad_token_id", "sep_token_id", "cls_token_id", "mask_token_id")
    if unk is not None and unk in {getattr(tokenizer, other, None) for other in others}:
        unk = None
    unknown = tokens = 0
    for row in rows:
        ids = list(row)
        tokens += len(ids)
        unknown += 0 if unk is None else ids.count(unk)
    return UnknownTokens(unknown, tokens, None if unk is None else str(tokenizer.unk_token))


def require_known(found: UnknownTokens, name: str, what: str = "texts") -> UnknownTokens:
    """Hand on the counts; refuse texts of which nearly nothing is known.

    Args:
        found: the counts.
        name: of the model, for the message.
        what: what was read.

    Raises:
        UsageError: more than nine in ten tokens are unknown.
    """
    if found.share > USELESS:
        raise UsageError(
            f"{found} to the tokenizer of {name!r}: it is not this model's, or the {what} are in another language or "
            "encoding"
        )
    return found


def warn_of_unknown(found: UnknownTokens, name: str, what: str) -> None:
    """Say on stderr how many tokens are unknown, where any is; refuse as :func:`require_known` does."""
    if str(require_known(found, name, what)):
        log.warning("%s: %s to the tokenizer of %r", what, found, name)
