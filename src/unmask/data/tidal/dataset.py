"""Texts and problems as rows of samples, made when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unmask.core.errors import UsageError
from unmask.data.text import evenly
from unmask.data.tidal.arithmetic import ArithmeticProblem
from unmask.data.tidal.mixed_tokenizer import MixedTokenizer
from unmask.data.tidal.plain import PlainTokenizer
from unmask.data.tidal.samples import Segment, block_sample, fixed_block, layout, pack, plain_sample, text_row

#: (given, to be written)
Example = tuple[str, str]
Row = list[Segment]


def examples_of(problems: Sequence[ArithmeticProblem]) -> list[Example]:
    """Problems as (up to the "=", the answer)."""
    return [(p.prompt, p.answer) for p in problems]


class TidalDataset(Dataset[Row]):
    """A dataset of packed rows for a :class:`unmask.models.tidal.TidalModel`.

    What a row is follows from how the model sees: with a prefix that looks both ways it is one block of one example,
    cut to ``length`` from the left; a causal model trains all blocks of an example in one row; a plain baseline reads
    the example from left to right. Examples whose row would be longer than ``length`` are left out and counted.

    Args:
        tokenizer: cuts and spells.
        examples: (prompt, text) pairs; the text is trained.
        attention, writes: as the model's.
        length: most positions of a row.

    Attributes:
        over_long: examples left out.

    Raises:
        UsageError: no example fits.
    """

    def __init__(
        self, tokenizer: MixedTokenizer, examples: Sequence[Example], *, attention: str, writes: str, length: int
    ) -> None:
        self.tokenizer, self.examples = tokenizer, examples
        self.attention, self.writes, self.length = attention, writes, length
        self.plain = None if writes == "blocks" else PlainTokenizer(tokenizer, writes)
        if self.whole:
            index = [(i, 0) for i in range(len(examples)) if self._size(i) <= length]
            self.over_long = len(examples) - len(index)
        else:
            if tokenizer.max_block + 2 > length:
                raise UsageError(
                    f"length={length} has no room for blocks of {tokenizer.max_block} characters: raise it"
                )
            index = [(i, at) for i, (_, text) in enumerate(examples) for at in range(len(tokenizer.split(text)) or 1)]
            self.over_long = 0
        if not index:
            raise UsageError(f"length={length}: none of {len(examples)} texts fits; raise it")
        self.index = torch.tensor(index, dtype=torch.int32)

    @property
    def whole(self) -> bool:
        """Whether a row holds a whole example."""
        return self.plain is not None or self.attention == "causal"

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, at: int) -> Row:
        example, block = self.index[at].tolist()
        return self._whole_row(example) if self.whole else self._block_row(example, block)

    def rows_of(self, count: int) -> tuple[list[Row], int]:
        """All rows of ``count`` examples, spread evenly over those that are in, and how many characters these have."""
        known = self.index[:, 0].unique()
        chosen = known[evenly(len(known), count)]
        rows = [self[i] for i in torch.isin(self.index[:, 0], chosen).nonzero()[:, 0].tolist()]
        return rows, sum(len(self.examples[i][1]) for i in chosen.tolist())

    def _whole_row(self, example: int) -> Row:
        prompt, text = self.examples[example]
        if self.plain is not None:
            return [plain_sample(self.plain.encode(prompt), self.plain.encode(text))]
        return text_row(self.tokenizer, text, prompt)

    def _size(self, example: int) -> int:
        """Positions of a whole row, without making it; re-tokenised segments of their own may add a few."""
        prompt, text = self.examples[example]
        if self.plain is not None:
            return len(self.plain.encode(prompt)) + len(self.plain.encode(text)) + 2
        return (
            len(self.tokenizer.encode(prompt + text)) + len(text.encode("utf-8")) + 2 * len(self.tokenizer.split(text))
        )

    def _block_row(self, example: int, at: int) -> Row:
        prompt, text = self.examples[example]
        pieces = self.tokenizer.split(text) or [""]
        # a reader cannot know the size of the block that it writes: the prefix makes room for the widest
        room = self.length - (self.tokenizer.max_block - len(pieces[at].encode("utf-8")))
        sample = block_sample(
            self.tokenizer, prompt + "".join(pieces[:at]), pieces[at], last=at == len(pieces) - 1, length=room
        )
        return [fixed_block(sample, self.tokenizer.max_block + 1) if self.attention == "masked" else sample]


def collate(rows: Sequence[Row], length: int | None = None) -> dict[str, Tensor]:
    """A batch of rows as the tensors of :func:`unmask.data.tidal.samples.layout`.

    Args:
        length: samples share rows of up to so many positions, which leaves less padding; None keeps the rows.
    """
    return layout(rows if length is None else pack([segment for row in rows for segment in row], length))


def batches(rows: Sequence[Row], positions: int = 8192) -> list[dict[str, Tensor]]:
    """Rows of like length together, each batch of at most ``positions`` positions if its rows are shorter."""
    found: list[list[Row]] = []
    widest = 0
    for row in sorted(rows, key=lambda row: sum(map(len, row))):
        width = sum(map(len, row))
        if not found or max(widest, width) * (len(found[-1]) + 1) > positions:
            found.append([])
        found[-1].append(row)
        widest = width
    return [layout(group) for group in found]
