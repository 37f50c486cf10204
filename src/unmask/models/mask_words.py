"""Words that stand for a mask in prompts, and tokens in texts that belong to a layout and not to a text."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from unmask.core.errors import UsageError

log = logging.getLogger("unmask")

#: the mask words of BERT, RoBERTa, LLaDA, Dream, T5 ... in any case; what looks like one was meant as one
_MASK_WORD = re.compile(
    r"\[\s*mask\s*\]|<\s*mask\s*>|<\|\s*(?:mdm_|mask_|text_)?mask\s*\|>|\{\s*mask\s*\}|<extra_id_\d+>|"
    r"<\|reserved_mask\|>|<mask_\d+>|\[\s*mask_\d+\s*\]",
    re.IGNORECASE,
)


def foreign_mask(text: str, own: str | None) -> str | None:
    """The first word in a text that is another model's mask word; None if there is none.

    Args:
        text: a prompt.
        own: this model's mask word.
    """
    return next((found[0] for found in _MASK_WORD.finditer(text) if found[0] != own), None)


def require_own_masks(prompts: Sequence[str], tokenizer: Any, mask_id: int, ids: Sequence[Sequence[int]]) -> None:
    """Refuse prompts that show a mask that would not be filled in.

    Args:
        prompts: texts to be filled in or continued.
        tokenizer: the model's own.
        mask_id: the model's.
        ids: what the prompts were read as.

    Raises:
        UsageError: another model's mask word, or this model's where its tokenizer reads it as plain text.
    """
    own = mask_word(tokenizer, mask_id)
    for prompt, row in zip(prompts, ids, strict=True):
        other = foreign_mask(prompt, own)
        if other is not None:
            right = f"write {own!r}" if own else "it has no word for its mask, so give ids as canvas="
            raise UsageError(f"{other!r} in a prompt is not this model's mask word: {right}")
        if own is not None and own in prompt and mask_id not in row:
            raise UsageError(
                f"{own!r} in a prompt would not be filled in: this model's tokenizer reads it as plain text "
                "(split_special_tokens in its tokenizer_config.json); give ids as canvas= instead"
            )


def warn_of_masks(prompts: Sequence[Any], tokenizer: Any, mask_id: int) -> None:
    """Say on stderr that a chat's own words are not filled in, where one of them is a mask word."""
    own = mask_word(tokenizer, mask_id)
    for prompt in prompts:
        word = None if not isinstance(prompt, str) else own if own and own in prompt else foreign_mask(prompt, own)
        if word is not None:
            log.warning("%r in a prompt is not filled in: this model has a chat template, so it writes an answer", word)
            return


def literal_ids(tokenizer: Any, ids: Sequence[int], mask_id: int) -> list[int]:
    """The ids of a text whose mask words are words like others, as where a mask is the subject of the text.

    Args:
        tokenizer: the model's own.
        ids: what it read.
        mask_id: the model's.

    Raises:
        UsageError: the tokenizer cannot read its mask word as plain text.
    """
    if mask_id not in ids:
        return list(ids)
    word = mask_word(tokenizer, mask_id)
    plain = tokenizer(word, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    if mask_id in plain:
        raise UsageError(
            f"{word!r} in a text would be a mask to this model, whose tokenizer cannot read it as plain text: leave it "
            "out"
        )
    return [token for i in ids for token in (plain if i == mask_id else [i])]


def mask_word(tokenizer: Any, mask_id: int) -> str | None:
    """How the tokenizer spells the mask; None if it has no word for it."""
    word = tokenizer.mask_token or tokenizer.convert_ids_to_tokens(mask_id)
    return None if word is None else str(word)


def layout_ids(tokenizer: Any, *more: int | None) -> set[int]:
    """Ids that lay a text out and are none of its words: mask, padding, start and end; not the unknown word.

    Args:
        tokenizer: the model's own.
        more: the model's own ids of that kind.
    """
    names = ("mask_token_id", "pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id")
    found = {getattr(tokenizer, name, None) for name in names} | set(more)
    return {int(i) for i in found - {None, getattr(tokenizer, "unk_token_id", None)} if i is not None}
