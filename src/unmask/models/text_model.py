"""A denoiser with what it takes to go from text to text: tokenizer, encoder, and how the canvas is laid out.

A run folder holds ``config.json`` and ``model.safetensors`` (the denoiser), the tokenizer's files and ``unmask.json``
(this module's description). :func:`load_native` gives back exactly what was saved, or refuses.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from unmask.core.condition import Condition
from unmask.core.denoiser import Denoiser
from unmask.core.errors import CheckpointError, UsageError, first_line
from unmask.core.files import sha256, write_json
from unmask.core.renamed import current
from unmask.core.sampling import drawn_lengths
from unmask.data.latents import Encoder
from unmask.data.stored_tokenizer import stored_tokenizer
from unmask.models.denoiser import MaskedDiffusionModel
from unmask.models.hub import find, silenced

if TYPE_CHECKING:
    from typing_extensions import Self

FORMAT = 1
CARD = "unmask.json"

#: the averaged weights in a checkpoint of a run
AVERAGE = "ema.safetensors"

M = TypeVar("M", bound=PreTrainedModel)


@dataclass
class TextModelCard:
    """The contents of ``unmask.json``: how a model was made, and checksums of its files.

    Attributes:
        length: canvas length the model was trained on.
        encoder: name or path of the sentence encoder, None for an unconditional model.
        pooling: "mean" or "cls", None for the encoder's own.
        encoder_identity: what the latents' cache keyed the encoder by; a mismatch is refused.
        tokenizer_identity: hash of the ids' meaning, where the tokenizer has one; a mismatch is refused.
        task: reconstruction, paraphrase or unconditional.
        recipe: the settings it was trained with.
        scores: metrics of the saved weights.
        checksums: SHA-256 of the files beside the card; a file that is not what was saved is refused.
    """

    length: int
    encoder: str | None = None
    pooling: str | None = None
    encoder_identity: str | None = None
    tokenizer_identity: str | None = None
    task: str = "unconditional"
    recipe: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    format: int = FORMAT
    checksums: dict[str, str] = field(default_factory=dict)


class Bundle:
    """A network with the tokenizer and the card that belong to it: what a run folder holds."""

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
        """The frozen sentence encoder.

        Raises:
            UsageError: the model takes no semantic vector.
            CheckpointError: the encoder found now is not the one the model was trained with.
        """
        if self._encoder is None:
            self._encoder = self.load_encoder()
        return self._encoder

    def load_encoder(self, dtype: str | None = None) -> Encoder:
        """The card's encoder, ``fp32`` (None) or ``bf16``.

        Raises:
            UsageError, CheckpointError: see :attr:`encoder`.
        """
        if self.card.encoder is None:
            raise UsageError("this model takes no semantic vector, so it cannot be given texts; sample with n instead")
        from unmask.models.encoders import SentenceEncoder

        found = SentenceEncoder.load(self.card.encoder, pooling=self.card.pooling, dtype=dtype)
        if self.card.encoder_identity and found.identity != self.card.encoder_identity:
            raise CheckpointError(
                f"the encoder {self.card.encoder!r} found here ({found.identity}) is not the one this model was "
                f"trained with ({self.card.encoder_identity}); its vectors would mean something else"
            )
        return found

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


def is_native(path: str | Path) -> bool:
    """Whether a folder holds a model that :meth:`TextModel.save` wrote."""
    return (Path(path) / CARD).is_file()


def run_of(folder: Path) -> Path:
    """The run that a checkpoint folder belongs to, whose card and tokenizer are its own; else the folder itself."""
    return folder.parent if folder.name.startswith("checkpoint-") and not is_native(folder) else folder


def read_card(folder: Path) -> TextModelCard:
    """The card of a finished model folder.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    if not is_native(folder) and (folder / "recipe.json").is_file():
        raise CheckpointError(
            f"{str(folder)!r} is a run that has not finished: start `unmask train` again with its recipe, it goes on"
        )
    if not is_native(folder):
        raise CheckpointError(f"{str(folder)!r} holds no {CARD}: it is not a finished unmask model folder")
    try:
        raw = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if not isinstance(raw, dict) or raw.get("format") != FORMAT:
            raise ValueError(f"format {raw.get('format') if isinstance(raw, dict) else raw!r} is not {FORMAT}")
        card = TextModelCard(**raw)
        card.recipe = current(card.recipe)
        return card
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / CARD} cannot be read: {first_line(error)}") from error


def check_files(folder: Path, card: TextModelCard) -> None:
    """Refuse a folder whose files are not those that were saved together.

    Raises:
        CheckpointError: naming the first that is another or missing.
    """
    for name, digest in card.checksums.items():
        file = folder / Path(name).name
        if not file.is_file() or sha256(file) != digest:
            raise CheckpointError(f"{file} is not what was saved: it was damaged, replaced, removed, or half a save")


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


def load_weights(folder: str | Path, kind: type[M] = MaskedDiffusionModel) -> M:  # type: ignore[assignment]
    """The network of a folder, in evaluation mode; every weight must be there and none left over.

    Raises:
        CheckpointError: saying which weights are missing, unexpected or of another shape.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{str(folder)!r} holds no config.json, which says how its network is built")
    try:
        model: Any = kind(kind.config_class.from_pretrained(folder, local_files_only=True))  # type: ignore[attr-defined]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"the configuration in {str(folder)!r} cannot be used: {first_line(error)}") from error
    found = read_weights(folder)
    check_fit(model, found, folder)
    model.load_state_dict(found)
    if (folder / AVERAGE).is_file():
        # a checkpoint of a run: what was evaluated, and would be saved at its end, is the average
        from safetensors.torch import load_file

        model.load_state_dict(load_file(str(folder / AVERAGE)), strict=False)
    return cast(M, model.eval())


def check_fit(model: Any, found: dict[str, Tensor], folder: Path) -> None:
    """Refuse weights that a model lacks, that it has no place for, or of another shape.

    Raises:
        CheckpointError: naming them.
    """
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    faults = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unexpected": sorted(found.keys() - wanted.keys()),
        "of another shape": sorted(n for n in wanted.keys() & found.keys() if wanted[n] != tuple(found[n].shape)),
    }
    said = [f"{what}: {', '.join(v[:4])}{' ...' if len(v) > 4 else ''}" for what, v in faults.items() if v]
    if said:
        raise CheckpointError(f"the weights in {str(folder)!r} do not fit their configuration ({'; '.join(said)})")


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's safetensors, sharded or not.

    Raises:
        CheckpointError: there are none, a shard is missing, or a file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    require_safetensors(folder)
    files = sorted(folder.glob("model*.safetensors"))
    index = folder / "model.safetensors.index.json"
    try:
        if index.is_file():
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            files = [folder / Path(str(name)).name for name in sorted(names)]
        tensors: dict[str, Tensor] = {}
        for file in files:
            tensors |= load_file(str(file))
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"the weights in {str(folder)!r} cannot be read: {first_line(error)}") from error
    return tensors


def require_safetensors(folder: Path) -> None:
    """Refuse a folder without weights in a format that holds nothing but numbers.

    Raises:
        CheckpointError: there are none; it names the pickle that lies there instead.
    """
    if any(folder.glob("model*.safetensors")):
        return
    other = sorted(p.name for ending in ("pytorch_model*.bin", "*.pth") for p in folder.glob(ending))
    other += sorted(p.name for ending in ("*.bin", "*.pt") for p in folder.glob(ending))
    hint = f"; {other[0]} is a pickle, which is not read: convert it to safetensors" if other else ""
    raise CheckpointError(f"{str(folder)!r} holds no model.safetensors{hint}")
