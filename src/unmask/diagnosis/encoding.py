"""Whether texts, encoded again, give the ids that their rows hold, which no other segmentation of them does."""

from __future__ import annotations

from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.subject import Batch, NotProvided


def other_ids(context: CheckContext, batch: Batch) -> float | None:
    """The share of texts that are encoded to other ids than their rows hold; None without texts or an encoder.

    By ``encode`` of the subject; where it has none, by a tokenizer of transformers, special ids aside and as far as a
    row reaches. How the rows of another tokenizer are laid out (spelled backwards, say) only ``encode`` can tell.
    """
    if batch.texts is None or not context.subject.rows_are_texts:
        return None
    try:
        ids_BL = context.subject.encode(batch.texts)[0].cpu()
    except NotProvided:
        return _by_tokenizer(context, batch)
    known_BL = batch.ids_BL.cpu()
    width = min(known_BL.shape[1], ids_BL.shape[1])
    # what one canvas has and the other has not must be padding
    pad = -1 if context.subject.pad_id is None else context.subject.pad_id
    beyond_B = (known_BL[:, width:] != pad).any(1) | (ids_BL[:, width:] != pad).any(1)
    return float(((known_BL[:, :width] != ids_BL[:, :width]).any(1) | beyond_B).double().mean())


def special_ids(context: CheckContext) -> set[int]:
    """Ids that no text shows: mask, padding, end, and those that a tokenizer calls special, but for the unknown."""
    s = context.subject
    special = {i for i in (s.mask_id, s.pad_id, s.eos_id) if i is not None}
    # a BERT's rows begin with [CLS], which no text shows; an unknown word is a loss and stays
    return special | {*getattr(s.tokenizer, "all_special_ids", ())} - {getattr(s.tokenizer, "unk_token_id", None)}


def _by_tokenizer(context: CheckContext, batch: Batch) -> float | None:
    from transformers import PreTrainedTokenizerBase

    s = context.subject
    if batch.texts is None or not isinstance(s.tokenizer, PreTrainedTokenizerBase):
        return None
    special, other = special_ids(context), 0
    for text, row in zip(batch.texts, batch.ids_BL.tolist(), strict=True):
        kept = [i for i in (row[: row.index(s.eos_id)] if s.eos_id in row else row) if i not in special]
        found = [i for i in s.tokenizer.encode(text, add_special_tokens=False) if i not in special]
        # a row that ends holds the whole text; one that does not may cut it off
        other += found != kept if s.eos_id in row else found[: len(kept)] != kept
    return other / len(batch.texts)
