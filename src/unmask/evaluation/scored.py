"""Which texts a model is scored on and on what canvas, and how many are left out for which reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unmask.core.errors import UsageError
from unmask.core.unknown import UnknownTokens, require_known, unknown_ids
from unmask.evaluation.held_out import held_out
from unmask.models.mask_words import layout_ids, mask_word
from unmask.models.text_model import TextModel

#: the widest canvas that is chosen for somebody else's model without being asked for: attention's memory grows with its
#: square, and a single text of a corpus should not decide on it. ``length`` goes up to the model's positions
WIDEST = 1024
#: rows of a canvas of this length that are run at once; of longer ones fewer
ROWS, OF_LENGTH = 64, 128


@dataclass(frozen=True)
class LeftOut:
    """How many texts are not scored, and why.

    Attributes:
        looked_at: texts that were looked at.
        too_long: need more than ``length`` positions, their end included.
        mask_word: hold the model's own mask, so that they are not clean texts.
        empty: have no token at all, and the model writes at least one.
        special: hold a token that lays texts out (padding, start, end), so that it is not clear where they end.
        length: positions of the canvas; None where there is none.
        limit: positions that the model has; None where they do not end.
        words: how the mask, and one of the other tokens found, are spelled.
    """

    looked_at: int
    too_long: int = 0
    mask_word: int = 0
    special: int = 0
    length: int | None = None
    limit: int | None = None
    words: tuple[str, str] = ("", "")
    empty: int = 0

    @property
    def count(self) -> int:
        return self.too_long + self.mask_word + self.special + self.empty

    @property
    def reasons(self) -> list[str]:
        """One clause for each reason with its count."""
        found = []
        if self.too_long:
            wider = self.limit is None or (self.length is not None and self.length < self.limit)
            how = f" (a length of up to {self.limit} is possible)" if wider and self.limit is not None else ""
            found.append(f"{self.too_long} longer than the canvas of {self.length} tokens{how}")
        if self.empty:
            found.append(f"{self.empty} without any token")
        if self.mask_word:
            found.append(f"{self.mask_word} with the mask word {self.words[0]!r} in them")
        if self.special:
            found.append(f"{self.special} with a special token ({self.words[1]!r}) in them")
        return found

    def __str__(self) -> str:
        """``20 of 24 texts are left out: 20 longer than the canvas of 128 tokens``; empty where none is."""
        if not self.count:
            return ""
        verb = "is" if self.count == 1 else "are"
        return f"{self.count} of {self.looked_at} texts {verb} left out: {', '.join(self.reasons)}"

    @property
    def metrics(self) -> dict[str, float]:
        """Flat numbers."""
        return {
            "texts_looked_at": self.looked_at,
            "texts_left_out_too_long": self.too_long,
            "texts_left_out_mask_word": self.mask_word,
            "texts_left_out_special_token": self.special,
        }


@dataclass(frozen=True)
class Scored:
    """The texts that a model is scored on.

    Attributes:
        sources, references: what each is written from, and the text.
        known: the texts that were trained on; None where that is not known.
        length: positions of the canvas.
        left_out: what is not among them.
        unknown: how many of their tokens the tokenizer does not know.
    """

    sources: list[str]
    references: list[str]
    known: Sequence[str] | None
    length: int
    left_out: LeftOut
    unknown: UnknownTokens

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know of the texts, one sentence each."""
        unknown = f"{self.unknown} to the tokenizer" if str(self.unknown) else ""
        return tuple(f"{said}." for said in (str(self.left_out), unknown) if said)


def scored_texts(
    model: TextModel, data: Any = None, column: str | None = None, texts: int = 256, length: int | None = None
) -> Scored:
    """Texts that training never saw and that can be scored, with the canvas that they are scored on.

    A text that holds the mask, or another token that lays texts out, is left out: it is no clean text, and where it
    ends is not clear. Other special tokens that a text spells are read as such by somebody else's tokenizer and as
    plain words by ours.

    Args:
        model: from ``unmask.load``.
        data, column, texts: see :func:`unmask.evaluation.held_out.held_out`.
        length: positions of the canvas. None: of a model of ours those that it was trained on; of somebody else's the
            card's, or what the longest text needs, up to the model's positions and at most :data:`WIDEST`.

    Raises:
        UsageError: no text can be scored, nearly all tokens are unknown, or a length the model has no positions for.
    """
    sources, references, known = held_out(model, data, column, texts)
    d, tokenizer = model.denoiser, model.tokenizer
    if length is not None and (length < 2 or (d.max_length is not None and length > d.max_length)):
        raise UsageError(f"length={length} must lie in 2..{d.max_length or ''}, the positions this model has")
    rows: list[list[int]] = tokenizer(list(references), add_special_tokens=False, verbose=False)["input_ids"]
    layout = layout_ids(tokenizer, d.mask_id, d.pad_id, d.eos_id)
    masked = [d.mask_id in row for row in rows]
    odd = [not hidden and not layout.isdisjoint(row) for row, hidden in zip(rows, masked, strict=True)]
    empty = [d.models_length and not row for row in rows]
    clean = [i for i in range(len(rows)) if not masked[i] and not odd[i] and not empty[i]]
    extra = len(model.frame[0]) + (d.eos_id is not None)
    width = length if length is not None else _width(model, [len(rows[i]) + extra for i in clean])
    fits = [i for i in clean if len(rows[i]) + extra <= width]
    spelled = next((token for row, bad in zip(rows, odd, strict=True) if bad for token in row if token in layout), None)
    left_out = LeftOut(
        looked_at=len(rows),
        too_long=len(clean) - len(fits),
        mask_word=sum(masked),
        special=sum(odd),
        empty=sum(empty),
        length=width,
        limit=d.max_length,
        words=(
            str(mask_word(tokenizer, d.mask_id)) if any(masked) else "",
            "" if spelled is None else str(tokenizer.convert_ids_to_tokens(spelled)),
        ),
    )
    if not fits:
        raise UsageError(f"no text can be scored: {left_out}")
    unknown = require_known(unknown_ids(tokenizer, [rows[i] for i in fits]), model.path or "this model")
    return Scored([sources[i] for i in fits], [references[i] for i in fits], known, width, left_out, unknown)


def rows_at_once(length: int) -> int:
    """Rows of a canvas that are run at once, so that longer ones take no more memory."""
    return max(1, ROWS * OF_LENGTH // max(length, OF_LENGTH))


def _width(model: TextModel, needed: Sequence[int]) -> int:
    if model.own_canvas:
        return model.card.length  # its padding was trained, so the canvas is part of what is scored
    most = WIDEST if model.denoiser.max_length is None else min(WIDEST, model.denoiser.max_length)
    return max(model.card.length, min(max(needed, default=0), most))
