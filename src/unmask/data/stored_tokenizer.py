"""The tokenizer that stands in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: what transformers calls a tokenizer that is a tokenizer.json and nothing else: 5.0 and later, and before
_PLAIN = ("TokenizersBackend", "PreTrainedTokenizerFast")


def stored_tokenizer(folder: Path) -> Any:
    """A Hugging Face tokenizer, read from a folder alone.

    Raises:
        Exception: of whatever kind transformers and tokenizers have for a damaged or missing file.
    """
    said = folder / "tokenizer_config.json"
    if said.is_file() and json.loads(said.read_text(encoding="utf-8")).get("tokenizer_class") in _PLAIN:
        # AutoTokenizer finds the same class, after importing half of transformers with scikit-learn and pandas
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)
