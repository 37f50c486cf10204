"""Somebody else's model with its tokenizer: canvases framed as it was trained, prompts through its own chat template.

Shapes: B rows, L length, N texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.core.unknown import unknown_ids, warn_of_unknown
from unmask.models.mask_words import require_own_masks, warn_of_masks
from unmask.models.text_model import Laid, TextModel

Message = Mapping[str, str]


@dataclass(frozen=True)
class Prompted:
    """Prompts as canvases: ids [B, L], with the positions to be generated masked.

    Attributes:
        x_BL: ids; positions to be written hold the mask id.
        fill_BL: positions to be written; a mask inside a chat's own words is none.
        valid_BL: False in the padding.
        whole_B: rows whose text had holes of its own, and is shown whole.
    """

    x_BL: Tensor
    fill_BL: Tensor
    valid_BL: Tensor
    whole_B: Tensor

    def repeat(self, times: int) -> Prompted:
        """Each row ``times`` times, neighbours together."""
        return Prompted(*(getattr(self, f.name).repeat_interleave(times, 0) for f in fields(self)))


class AdapterModel(TextModel):
    """A :class:`TextModel` around an adapter; :func:`unmask.models.adapters.load.load_adapter` makes it."""

    own_canvas = False

    def laid_out(
        self,
        texts: Sequence[Any] | None = None,
        copies: int | None = None,
        length: int | None = None,
        canvas: Tensor | None = None,
        cond: Condition | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Laid:
        """As :meth:`TextModel.laid_out`, but texts are prompts (:meth:`answer_canvas`)."""
        if texts is None:
            return super().laid_out(None, copies, length, canvas, cond)
        if cond is not None:
            raise UsageError("give texts or a condition, not both")
        if canvas is not None:
            raise UsageError("give texts or a canvas, not both: an adapted model's texts are prompts")
        p = self.answer_canvas(texts, length).repeat(copies or 1)
        return Laid(p.x_BL, None, p.fill_BL, p.valid_BL, p.whole_B)

    def read(self, laid: Laid, sequences_BL: Tensor) -> list[str]:
        if laid.whole_B is None or laid.fill_BL is None or laid.valid_BL is None:
            return self.decode(sequences_BL)
        return self.answers(Prompted(laid.x_BL, laid.fill_BL, laid.valid_BL, laid.whole_B), sequences_BL)

    @property
    def frame(self) -> tuple[list[int], list[int]]:
        """Ids that the tokenizer puts before and after a text (``[CLS]`` and ``[SEP]``); often none."""
        ids = list(self.tokenizer("", verbose=False)["input_ids"])
        opening = {self.tokenizer.bos_token_id, self.tokenizer.cls_token_id} - {self.denoiser.eos_id}
        before = [i for i in ids if i in opening]
        return before, [i for i in ids if i not in opening]

    def canvas(self, rows: int, length: int | None = None) -> Tensor:
        """A canvas [rows, L] that is masked but for the tokenizer's frame.

        Raises:
            UsageError: a length the model has no positions for, or that the frame alone fills.
        """
        x_BL = super().canvas(rows, length)
        before, after = self.frame
        if x_BL.shape[1] <= len(before) + len(after):
            raise UsageError(
                f"length={x_BL.shape[1]} leaves no room beside the {len(before) + len(after)} frame tokens"
            )
        for place, token in enumerate(before):
            x_BL[:, place] = token
        for place, token in enumerate(reversed(after)):
            x_BL[:, -1 - place] = token
        return x_BL

    def tokenize(self, texts: Sequence[str], length: int | None = None) -> Tensor:
        """Ids [N, L]: the frame's opening, the text, EOS, padding; a text that is too long is cut, without EOS.

        Raises:
            UsageError: the tokenizer has neither an end nor a padding token.
        """
        width = length or self.card.length
        end, pad = self.denoiser.eos_id, self.denoiser.pad_id
        pad = end if pad is None else pad
        if pad is None:
            raise UsageError("the tokenizer has neither an end nor a padding token, so texts cannot share a canvas")
        before, _ = self.frame
        rows = []
        for text in texts:
            ids = before + self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            ids = [*ids, *([] if end is None else [end])][:width]
            rows.append(ids + [pad] * (width - len(ids)))
        return torch.tensor(rows, device=self.device).view(len(rows), width)

    def texts_in(self, ids_NL: Tensor) -> tuple[Tensor, Tensor]:
        """Of what :meth:`tokenize` made, the positions of texts with their ends, and those that are no padding [N, L].

        Nobody here knows that such a model was trained to write its padding (a BERT never was), or its frame's opening.
        """
        pad = self.denoiser.eos_id if self.denoiser.pad_id is None else self.denoiser.pad_id
        place_L = torch.arange(ids_NL.shape[1], device=ids_NL.device)
        # behind the last id that is no padding; where EOS pads, the first one ends the text
        last_N1 = torch.where(ids_NL != pad, place_L, -1).max(1, keepdim=True).values
        valid_NL = place_L <= (last_N1 + 1 if pad == self.denoiser.eos_id else last_N1)
        return valid_NL & (place_L >= len(self.frame[0])), valid_NL

    def prompt_ids(self, prompt: str | Sequence[Message]) -> list[int]:
        """Ids of a prompt, ready for an answer.

        Args:
            prompt: text, or messages with ``role`` and ``content``. With a chat template a text is one user message;
                without, it is continued as it stands.

        Raises:
            UsageError: messages for a tokenizer without a chat template.
        """
        if self.tokenizer.chat_template:
            messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(m) for m in prompt]
            text = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        if not isinstance(prompt, str):
            raise UsageError("this model's tokenizer has no chat template: give prompts as plain texts")
        return self.frame[0] + list(self.tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])

    def answer_canvas(self, prompts: Sequence[str | Sequence[Message]], length: int | None = None) -> Prompted:
        """Prompts, each followed by ``length`` masks (and the frame's end), padded on the right.

        Without ``length`` an answer gets the card's, or what the model's positions leave beside the longest prompt.
        A plain text that shows the mask token itself (``the [MASK] of France``) is filled in there, and nothing is
        appended; another model's mask word is refused, and a chat's own words are never filled in. Special tokens that
        a prompt spells are read as such. Positions count from the row's own start, so a row is the same alone and among
        longer ones.

        Raises:
            UsageError: no prompt, a mask word that is not this model's, nearly only unknown words, or more tokens
                than the model has positions.
        """
        if not prompts or (length is not None and length < 1):
            raise UsageError(f"{len(prompts)} prompts and length={length} must both be at least 1")
        mask_id, limit = self.denoiser.mask_id, self.denoiser.max_length
        chat = bool(self.tokenizer.chat_template)
        after = [] if chat else self.frame[1]
        prompts_ids = [self.prompt_ids(prompt) for prompt in prompts]
        if chat:
            warn_of_masks(prompts, self.tokenizer, mask_id)
        else:
            require_own_masks([str(prompt) for prompt in prompts], self.tokenizer, mask_id, prompts_ids)
        words = [ids if chat else ids[len(self.frame[0]) :] for ids in prompts_ids]
        warn_of_unknown(unknown_ids(self.tokenizer, words), self.path or "this model", "prompts")
        if length is None:
            taken = max(map(len, prompts_ids)) + len(after)
            length = max(1, self.card.length if limit is None else min(self.card.length, limit - taken))
        rows, fills, whole = [], [], []
        for ids in prompts_ids:
            holes = [] if chat else [token == mask_id for token in ids]
            whole.append(any(holes))
            answer = 0 if whole[-1] else length
            rows.append(ids + [mask_id] * answer + after)
            fills.append((holes if whole[-1] else [False] * len(ids) + [True] * answer) + [False] * len(after))
        width = max(map(len, rows))
        if limit is not None and width > limit:
            raise UsageError(f"a prompt with {length} tokens to write needs {width} positions; the model has {limit}")
        pad = self.denoiser.pad_id if self.denoiser.pad_id is not None else self.denoiser.eos_id or 0
        x_BL = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=self.device)
        fill_BL = torch.tensor([fill + [False] * (width - len(fill)) for fill in fills], device=self.device)
        length_B1 = torch.tensor([[len(row)] for row in rows], device=self.device)
        valid_BL = torch.arange(width, device=self.device) < length_B1
        return Prompted(x_BL, fill_BL, valid_BL, torch.tensor(whole, device=self.device))

    def answers(self, prompted: Prompted, sequences_BL: Tensor) -> list[str]:
        """What was written for each prompt, up to its EOS; a text with holes comes back whole."""
        shown_BL = torch.where(prompted.whole_B[:, None], prompted.valid_BL, prompted.fill_BL)
        return [self.decode(row[shown][None])[0] for row, shown in zip(sequences_BL, shown_BL, strict=True)]

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> Path:
        """Refused: an adapted model stays in the format of its authors.

        Raises:
            UsageError: always; its own folder is the one to copy.
        """
        raise UsageError(f"an adapted model is not saved again: copy {self.path!r}, which is in its authors' format")
