"""Whether a folder holds a tokenizer, and whether a tokenizer knows the texts it is given.

transformers makes an empty tokenizer of the right class where the files are missing: every word is then unknown, and
numbers come out all the same.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unmask.core.errors import CheckpointError, WrongUse

log = logging.getLogger("unmask")

#: files that hold a vocabulary, in the formats that transformers reads
VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.*.json",
    "vocab*.json",
    "vocab*.txt",
    "*.model",
    "*.model.v*",
    "*.spm",
    "tekken.json",
    "*.tiktoken",
    "bpe.codes",
    "*.tokenizer",
)
#: share of unknown tokens above which numbers say nothing
USELESS = 0.9


def holds_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer's vocabulary, or names a tokenizer of bytes or characters that needs none."""
    return any(any(folder.glob(pattern)) for pattern in VOCABULARIES) or _needs_no_file(folder)


def require_tokenizer(folder: Path, name: str) -> None:
    """Refuse a folder without a tokenizer.

    Args:
        folder: of a model, or the hub's snapshot of one.
        name: what the user called it.

    Raises:
        CheckpointError: it holds none.
    """
    if not holds_tokenizer(folder):
        raise no_tokenizer(name)


def no_tokenizer(name: str) -> CheckpointError:
    """The error for a model without its tokenizer."""
    return CheckpointError(
        f"{name!r} holds no tokenizer (tokenizer.json, vocab.txt, tokenizer.model ...): save the model's own beside it"
    )


def require_words(tokenizer: Any, name: str) -> None:
    """Refuse a tokenizer that knows nothing but its special tokens.

    Raises:
        CheckpointError: it is one that was made from no file, or from an empty one.
    """
    vocabulary = tokenizer.get_vocab()
    if not set(vocabulary) - {str(token) for token in tokenizer.all_special_tokens}:
        raise no_tokenizer(name)


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
    """The same of ids at hand."""
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
        WrongUse: more than nine in ten tokens are unknown.
    """
    if found.share > USELESS:
        raise WrongUse(
            f"{found} to the tokenizer of {name!r}: it is not this model's, or the {what} are in another language or "
            "encoding"
        )
    return found


def warn_of_unknown(found: UnknownTokens, name: str, what: str) -> None:
    """Say on stderr how many tokens are unknown, where any is; refuse as :func:`require_known` does."""
    if str(require_known(found, name, what)):
        log.warning("%s: %s to the tokenizer of %r", what, found, name)


def _needs_no_file(folder: Path) -> bool:
    import transformers

    try:
        said = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        kind = getattr(transformers, str(said.get("tokenizer_class")), None)
    except (OSError, ValueError, AttributeError):
        return False
    return getattr(kind, "vocab_files_names", None) == {}
