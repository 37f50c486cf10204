"""The baselines' reading of a text: tokens or characters from left to right, without blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.data.tidal.mixed_tokenizer import EOS, MixedTokenizer


@dataclass(frozen=True)
class PlainTokenizer:
    """A :class:`MixedTokenizer` for a model that writes plain ``tokens`` or ``characters``.

    To the loop that writes, the whole continuation is one block, ended by ``<eos>``.

    Attributes:
        mixed: the id space.
        writes: ``tokens`` or ``characters``.
        max_block: most ids that are written.
    """

    mixed: MixedTokenizer
    writes: str
    max_block: int = 256
    ends: tuple[int, ...] = (EOS,)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without ``<eos>``."""
        return self.mixed.encode(text) if self.writes == "tokens" else self.mixed.spell(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """``<eos>`` and the text: what a continuation is drawn behind."""
        return [[EOS, *self.encode(text)] for text in texts]

    def read_block(self, ids: Sequence[int]) -> tuple[str, bool]:
        """The text before ``<eos>``, and whether there was one."""
        kept = list(ids[: ids.index(EOS)] if EOS in ids else ids)
        return (self.mixed.decode(kept) if self.writes == "tokens" else self.mixed.unspell(kept)), EOS in ids
