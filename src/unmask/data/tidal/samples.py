"""From texts to rows of ids: tokens before, blocks behind, and which id each position must predict.

Positions lie on two axes, and everything a model needs to know of the layout follows from them and the segment:

* ``segment``: rows may hold several samples; 0 is padding.
* ``token``: a token's place in its sample, from 0. A block stands where the next token would: at the number of tokens
  it may see. It sees the tokens of its segment with a smaller place.
* ``character``: the offset from ``<bob>``, which has 0; -1 for tokens.

Several blocks may hang on one segment, each at its own place: that is how a causal model trains every block of a text
in one row. With a prefix that looks both ways a segment has one block, because its states depend on where it ends.

Shapes: B rows, L positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.data.tidal.mixed_tokenizer import EOS, PAD, MixedTokenizer

#: target of a position that is not trained
IGNORE = -100


@dataclass
class Segment:
    """Tokens, and the blocks that hang on them.

    Attributes:
        tokens: ids, in order.
        blocks: (how many of the tokens it sees, its ids from ``<bob>`` to its last).
        train_from: tokens from this index on are predicted by the position before them; None trains no token.
    """

    tokens: list[int]
    blocks: list[tuple[int, list[int]]] = field(default_factory=list)
    train_from: int | None = None

    def __len__(self) -> int:
        return len(self.tokens) + sum(len(ids) for _, ids in self.blocks)


def block_sample(
    tokenizer: MixedTokenizer, prefix: str, block: str, *, last: bool = False, length: int | None = None
) -> Segment:
    """A segment of a prefix's tokens and one block.

    Args:
        last: the text ends with this block.
        length: most positions; the oldest tokens go first, and the block moves with the cut.

    Raises:
        UsageError: the block alone is longer than ``length``.
    """
    tokens, ids = tokenizer.encode(prefix), tokenizer.encode_block(block, last)
    if length is not None:
        if len(ids) > length:
            raise UsageError(f"length={length} has no room for a block of {len(ids)} ids: raise it or lower max_block")
        tokens = tokens[max(0, len(tokens) + len(ids) - length) :]
    return Segment(tokens, [(len(tokens), ids)])


def text_row(tokenizer: MixedTokenizer, text: str, prompt: str = "") -> list[Segment]:
    """Every block of a text, for a causal model: one segment with all blocks on it.

    Re-tokenising a longer prefix may change tokens; a block whose prefix is not the beginning of the whole text's
    tokens has a segment of its own, so that it is trained on exactly what it will see.

    Args:
        prompt: beginning of the text, given and not trained.
    """
    pieces = tokenizer.split(text) or [""]
    # nothing sees the tokens of the last block
    whole = tokenizer.encode(prompt + "".join(pieces[:-1]))
    row, before = [Segment(whole)], prompt
    for at, piece in enumerate(pieces):
        sample = block_sample(tokenizer, before, piece, last=at == len(pieces) - 1)
        if sample.tokens == whole[: len(sample.tokens)]:
            row[0].blocks += sample.blocks
        else:
            row.append(sample)
        before += piece
    return row


def plain_sample(prompt_ids: Sequence[int], answer_ids: Sequence[int]) -> Segment:
    """A plain causal sequence: ``<eos>``, the prompt, the answer, ``<eos>``; the answer and its end are trained."""
    tokens = [EOS, *prompt_ids, *answer_ids, EOS]
    return Segment(tokens, train_from=1 + len(prompt_ids))


def pack(segments: Sequence[Segment], length: int) -> list[list[Segment]]:
    """Segments packed into rows of at most ``length`` positions, in order, first fit.

    Raises:
        UsageError: a segment is longer than a row.
    """
    rows: list[list[Segment]] = []
    room: list[int] = []
    for segment in segments:
        if len(segment) > length:
            raise UsageError(f"a sample of {len(segment)} positions does not fit rows of {length}: raise length")
        at = next((i for i, left in enumerate(room) if left >= len(segment)), None)
        if at is None:
            rows.append([])
            room.append(length)
            at = len(rows) - 1
        rows[at].append(segment)
        room[at] -= len(segment)
    return rows


def layout(rows: Sequence[Sequence[Segment]]) -> dict[str, Tensor]:
    """Rows of segments as tensors padded to the longest row.

    Returns:
        ``input_ids``, ``segment``, ``token``, ``character`` and ``target`` (``IGNORE`` where nothing is trained),
        int64 [B, L].
    """
    length = max((sum(len(s) for s in row) for row in rows), default=0)
    fill = {"input_ids": PAD, "segment": 0, "token": 0, "character": -1, "target": IGNORE}
    columns: dict[str, list[list[int]]] = {name: [] for name in fill}
    for row in rows:
        line = _line(row)
        for name, values in line.items():
            columns[name].append(values + [fill[name]] * (length - len(values)))
    return {name: torch.tensor(lists, dtype=torch.int64).view(len(rows), length) for name, lists in columns.items()}


def _line(row: Sequence[Segment]) -> dict[str, list[int]]:
    line: dict[str, list[int]] = {name: [] for name in ("input_ids", "segment", "token", "character", "target")}
    for number, segment in enumerate(row, start=1):
        n = len(segment.tokens)
        start = n if segment.train_from is None else max(segment.train_from, 1)
        # position i predicts token i + 1; the last token predicts nothing
        trained = [segment.tokens[i + 1] if start <= i + 1 < n else IGNORE for i in range(n)]
        _extend(line, segment.tokens, number, list(range(n)), [-1] * n, trained)
        for seen, ids in segment.blocks:
            # <bob> predicts the first character: no position that is drawn from at inference is left untrained
            targets = [*ids[1:], IGNORE]
            _extend(line, ids, number, [seen] * len(ids), list(range(len(ids))), targets)
    return line


def _extend(
    line: dict[str, list[int]], ids: list[int], number: int, token: list[int], character: list[int], target: list[int]
) -> None:
    line["input_ids"] += ids
    line["segment"] += [number] * len(ids)
    line["token"] += token
    line["character"] += character
    line["target"] += target


def fixed_block(segment: Segment, width: int) -> Segment:
    """The segment with its block filled with ``<pad>`` to ``width`` ids after ``<bob>``: a canvas for masked diffusion.

    Raises:
        UsageError: the block is wider, or the segment holds another number of blocks than one.
    """
    if len(segment.blocks) != 1 or len(segment.blocks[0][1]) - 1 > width:
        raise UsageError(f"a canvas of {width} needs exactly one block of at most {width} ids after <bob>")
    seen, ids = segment.blocks[0]
    return Segment(segment.tokens, [(seen, ids + [PAD] * (width + 1 - len(ids)))])
