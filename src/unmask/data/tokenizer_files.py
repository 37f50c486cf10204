"""Whether a folder holds a tokenizer.

transformers makes an empty tokenizer of the right class where the files are missing: every word is then unknown, and
numbers come out all the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unmask.core.errors import CheckpointError

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


def _needs_no_file(folder: Path) -> bool:
    import transformers

    try:
        said = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        kind = getattr(transformers, str(said.get("tokenizer_class")), None)
    except (OSError, ValueError, AttributeError):
        return False
    return getattr(kind, "vocab_files_names", None) == {}
