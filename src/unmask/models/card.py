"""``unmask.json``: what a model folder says beside its weights, and whether its files are those that were saved."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unmask.core.errors import CheckpointError, UsageError, first_line
from unmask.core.files import sha256
from unmask.core.renamed import current
from unmask.data.latents import Encoder

FORMAT = 1
CARD = "unmask.json"


@dataclass
class TextModelCard:
    """What ``unmask.json`` says beside the weights.

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

    def load_encoder(self, dtype: str | None = None) -> Encoder:
        """The encoder that it names, ``fp32`` (None), ``bf16`` or ``auto``.

        Raises:
            UsageError: the model takes no semantic vector.
            CheckpointError: the encoder found now is not the one the model was trained with.
        """
        if self.encoder is None:
            raise UsageError("this model takes no semantic vector, so it cannot be given texts; sample with n instead")
        from unmask.models.encoders import SentenceEncoder

        found = SentenceEncoder.load(self.encoder, pooling=self.pooling, dtype=dtype)
        if self.encoder_identity and found.identity != self.encoder_identity:
            raise CheckpointError(
                f"the encoder {self.encoder!r} found here ({found.identity}) is not the one this model was "
                f"trained with ({self.encoder_identity}); its vectors would mean something else"
            )
        return found


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
