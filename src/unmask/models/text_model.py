"""A denoiser with what it takes to go from text to text: tokenizer, encoder, and how the canvas is laid out.

A run folder holds ``config.json`` and ``model.safetensors`` (the denoiser), the tokenizer's files and ``unmask.json``
(the card). :func:`load_native` gives back exactly what was saved, or refuses.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Denoiser
from unmask.core.errors import CheckpointError, UsageError, first_line
from unmask.core.files import sha256, write_json
from unmask.core.sampling import drawn_lengths
from unmask.core.sampling_config import SamplingConfig
from unmask.data.stored_tokenizer import stored_tokenizer
from unmask.models.card import CARD, Encoder, TextModelCard, check_files, is_native, read_card, run_of
from unmask.models.denoiser import MaskedDiffusionModel
from unmask.models.hub import find, silenced
from unmask.models.weights import load_weights

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CARD", "Bundle", "TextModelCard", "Encoder", "Laid", "TextModel", "is_native", "load_native"]


class Bundle:
    """A network with the tokenizer, the card and the default plan that belong to it: what a run folder holds."""

    config: SamplingConfig = SamplingConfig()

    def __init__(self, denoiser: Denoiser, tokenizer: Any, card: TextModelCard, path: str | None = None) -> None:
        self.denoiser, self.tokenizer, self.card, self.path = denoiser, tokenizer, card, path

    @property
    def device(self) -> torch.device:
        return cast(torch.device, next(self.denoiser.parameters()).device)  # type: ignore[attr-defined]

    def to(self, device: torch.device | str) -> Self:
        self.denoiser.to(device)  # type: ignore[attr-defined]
        return self

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> Path:
        """Write the whole model to a folder, aside first: a full disk leaves what was there as it was.

        ``unmask.json`` comes last, with a hash of every file: a folder without it or with other files is refused.

        Args:
            folder: made if need be.
            dtype: store the parameters in this precision (bf16 halves the file); they are loaded as fp32 either way.
        """
        folder = Path(folder)
        aside = folder / ".saving"
        if aside.exists():
            shutil.rmtree(aside)
        aside.mkdir(parents=True)
        net: Any = self.denoiser
        state = net.state_dict()
        if dtype is not None:
            state |= {name: p.detach().to(dtype) for name, p in net.named_parameters()}
        with silenced():
            net.save_pretrained(aside, state_dict=state)
        self.tokenizer.save_pretrained(aside)
        files = sorted(p for p in aside.iterdir() if p.is_file())
        self.card.checksums = {p.name: sha256(p) for p in files}
        for file in files:
            os.replace(file, folder / file.name)
        shutil.rmtree(aside)
        write_json(folder / CARD, asdict(self.card))
        if self.config.changed():
            self.config.save(folder)
        return folder


@dataclass(frozen=True)
class Laid:
    """A batch laid out for the sampler: canvas, condition, and which positions exist.

    Attributes:
        x_BL: ids; positions to be written hold the mask id.
        cond: semantic vectors, or None.
        fill_BL: positions to be written where those that hold the mask id are not meant.
        valid_BL: False in the padding, or None.
        whole_B: rows of prompts whose text is shown whole, for it had holes of its own; None without prompts.
    """

    x_BL: Tensor
    cond: Condition | None = None
    fill_BL: Tensor | None = None
    valid_BL: Tensor | None = None
    whole_B: Tensor | None = None

    @property
    def reach_B(self) -> Tensor:
        """How many columns hold each row: up to its last position that exists."""
        if self.valid_BL is None:
            return torch.full_like(self.x_BL[:, 0], self.x_BL.shape[1])
        place_L = torch.arange(1, self.x_BL.shape[1] + 1, device=self.x_BL.device)
        return torch.where(self.valid_BL, place_L, 0).amax(1)


class TextModel(Bundle):
    """A masked diffusion model with its tokenizer and sentence encoder: texts in, texts out.

    Args:
        denoiser: native model or adapter.
        tokenizer: a Hugging Face tokenizer whose ids the denoiser uses.
        card: canvas length, encoder, task.
        path: where it was loaded from.
        encoder: an encoder already at hand; otherwise the card's is loaded when it is first needed.
    """

    #: whether its padding was trained, so that its canvas is part of what is scored
    own_canvas = True

    def __init__(
        self,
        denoiser: Denoiser,
        tokenizer: Any,
        card: TextModelCard,
        path: str | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(denoiser, tokenizer, card, path)
        self._encoder = encoder

    @property
    def encoder(self) -> Encoder:
        """The frozen sentence encoder, loaded when it is first needed (:meth:`TextModelCard.load_encoder`)."""
        if self._encoder is None:
            self._encoder = self.card.load_encoder()
        return self._encoder

    def encode(self, texts: Sequence[str], progress: bool = False) -> Tensor:
        """Semantic vectors [N, Z], fp32, on the model's device."""
        vectors = self.encoder.encode(list(texts), progress=progress)
        return torch.from_numpy(np.array(vectors, dtype=np.float32)).to(self.device)

    def condition(self, texts: Sequence[str]) -> Condition:
        """The condition that makes the model write these texts (or paraphrases of them)."""
        return Condition.of(self.encode(texts))

    @property
    def frame(self) -> tuple[list[int], list[int]]:
        """Ids that stand before and after every text; none."""
        return [], []

    def prompt_ids(self, prompt: Any) -> list[int]:
        """Ids of a text that something is written behind."""
        return [*self.frame[0], *self.tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]]

    def texts_in(self, ids_NL: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Masks [N, L] of the scored and of the existing positions, for ids of :meth:`tokenize`; None: all."""
        if not self.denoiser.models_length:
            return None, None
        valid_NL = ids_NL != self.denoiser.pad_id
        return valid_NL, valid_NL

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
        """Rows to write: for the meanings of texts, for semantic vectors, into a canvas, or from nothing.

        Args:
            texts, cond: what to write from; not both.
            copies: rows of each, or in all.
            length: of the canvas; None: the card's, or each row's own for a model of lengths.
            canvas: ids [B, L] to fill in; for a model of lengths padding stands for positions that do not exist.
            temperature, seed: of the lengths that are drawn (:func:`unmask.core.sampling.drawn_lengths`).

        Raises:
            UsageError: texts and vectors, or as many of one as do not fit the other.
        """
        if texts is not None and cond is not None:
            raise UsageError("give texts or a condition, not both")
        cond = self.condition(texts) if texts is not None else cond
        each = (copies or 1) if cond is not None or canvas is not None else 1
        if cond is not None:
            cond = cond.repeat(each)
        if canvas is None:
            rows = len(cond) if cond is not None else (copies or 1)
            log_p_BL = self.length_log_probs(cond, rows) if length is None else None
            if log_p_BL is not None:
                x_BL, valid_BL = self.denoiser.ragged_canvas(drawn_lengths(log_p_BL, temperature, seed))
                return Laid(x_BL, cond, valid_BL=valid_BL)
            return Laid(self.canvas(rows, length), cond)
        canvas = canvas.to(self.device).repeat_interleave(each, 0)
        if cond is not None and len(cond) != len(canvas):
            raise UsageError(f"{len(cond)} conditions do not fit a canvas of {len(canvas)} rows")
        return Laid(canvas, cond, valid_BL=self.texts_in(canvas)[1])

    @torch.no_grad()
    def length_log_probs(self, cond: Condition | None, rows: int) -> Tensor | None:
        """Log probabilities [rows, L] of n = 1..L tokens, nats; None for a model that writes its own end."""
        return self.denoiser.length_log_probs(cond, rows)

    def read(self, laid: Laid, sequences_BL: Tensor) -> list[str]:
        """The texts of the generated rows."""
        return self.decode(sequences_BL)

    def canvas(self, rows: int, length: int | None = None) -> Tensor:
        """An all-masked canvas [rows, L].

        Raises:
            UsageError: a length the model has no positions for.
        """
        length = self.card.length if length is None else length
        limit = self.denoiser.max_length
        if length < 1 or (limit is not None and length > limit):
            raise UsageError(f"length={length} must lie in 1..{limit}, the positions this model has")
        return torch.full((rows, length), self.denoiser.mask_id, device=self.device)

    def tokenize(self, texts: Sequence[str], length: int | None = None) -> Tensor:
        """Ids [N, L]: the text, EOS (but of a model of lengths), then PAD; a text that is too long is cut."""
        from unmask.data.tokenizer import encode_fixed

        width, ends = length or self.card.length, not self.denoiser.models_length
        found = encode_fixed(self.tokenizer, list(texts), width, over_long="truncate", ends=ends)
        return torch.from_numpy(found.ids).long().to(self.device)

    def decode(self, ids_NL: Tensor) -> list[str]:
        """Texts, cut at the first EOS, special tokens left out."""
        from unmask.data.tokenizer import decode

        return decode(self.tokenizer, ids_NL)


def load_native(path: str | Path, device: str | torch.device | None = None) -> TextModel:
    """Load what :meth:`TextModel.save` wrote, from a folder or from the hub, or a checkpoint of a finished run.

    Raises:
        CheckpointError: not such a folder, weights missing, left over or of another shape, a tokenizer of another size.
        UsageError: there is no such folder or hub id.
    """
    folder = find(path)
    home = run_of(folder)
    card = read_card(home)
    denoiser = load_weights(folder, MaskedDiffusionModel)
    if home == folder:
        check_files(folder, card)
    try:
        tokenizer = stored_tokenizer(home)
    except Exception as error:  # tokenizers says of a damaged file no more than Exception
        why = first_line(error) if (home / "tokenizer.json").is_file() else "there is no tokenizer.json"
        raise CheckpointError(f"the tokenizer in {str(path)!r} cannot be read: {why}") from error
    if len(tokenizer) != denoiser.vocab_size:
        raise CheckpointError(
            f"the tokenizer in {str(path)!r} has {len(tokenizer)} ids, the model {denoiser.vocab_size}: "
            "they do not belong together"
        )
    model = TextModel(denoiser, tokenizer, card, path=str(path))
    return model.to(device) if device is not None else model
