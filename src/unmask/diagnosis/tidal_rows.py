"""What a row of a tidal subject says: its ids to text and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.data.tidal.mixed_tokenizer import BOB
from unmask.data.tidal.plain import PlainTokenizer
from unmask.models.tidal_text import TidalTextModel


@dataclass(frozen=True)
class RowText:
    """Ids of a row to its text and back, by the tokenizer of training and inference."""

    model: TidalTextModel

    @property
    def plain(self) -> PlainTokenizer | None:
        """The baseline's reading of a text; None for a model of blocks."""
        writes = self.model.denoiser.config.writes
        return None if writes == "blocks" else PlainTokenizer(self.model.tokenizer, writes)

    @property
    def ends(self) -> tuple[int, ...]:
        """What ends a row."""
        return self.model.tokenizer.ends if self.plain is None else self.plain.ends

    def __len__(self) -> int:
        return self.model.denoiser.config.outputs

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return self.model.tokenizer.encode_block(text)[1:-1] if self.plain is None else self.plain.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        kept = [i for i in ids if i != BOB]
        return (self.model.tokenizer if self.plain is None else self.plain).read_block(kept)[0]
