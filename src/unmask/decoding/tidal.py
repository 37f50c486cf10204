"""Writing a text block by block: spell a block, put it in order, append it, tokenise everything again, go on.

The loop knows no model. It takes a :class:`BlockWriter`: :class:`CharacterWriter` draws one character after the
other from a model that meets :class:`BlockModel`; :class:`MaskedWriter` lets the samplers of masked diffusion fill the
block of a denoiser in any order.

Shapes: B rows, V ids that can be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from unmask.core.denoiser import Denoiser
from unmask.core.errors import UsageError
from unmask.core.files import write_json
from unmask.core.random import hashed
from unmask.decoding.autoregressive import next_tokens
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate


class BlockTokenizer(Protocol):
    """What the loop needs of a tokenizer."""

    @property
    def max_block(self) -> int: ...
    @property
    def ends(self) -> tuple[int, ...]: ...
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...
    def read_block(self, ids: Sequence[int]) -> tuple[str, bool]: ...


class BlockModel(Protocol):
    """Next-character laws. The state is the model's own; it is handed back, never hidden in the module."""

    def begin(self, prefixes: Sequence[Sequence[int]], before: Any = None) -> tuple[Tensor, Any]:
        """The law of each row's first character, [B, V], and the state; ``before`` may be used again in part."""
        ...

    def step(self, ids_B: Tensor, writing: Any) -> tuple[Tensor, Any]:
        """Read one character a row; the law of the next, and the state."""
        ...


@dataclass
class DrawnBlock:
    """One block of one row, as it was drawn.

    Attributes:
        ids: characters and the end, in the order of the block.
        probabilities: of each id under the law that it was drawn from (empty where the writer knows none).
        tokens: tokens of the prefix.
        reused: how many of them were not read again.
        forwards: passes through the model that the row took part in.
    """

    ids: list[int]
    probabilities: list[float]
    tokens: int
    reused: int = 0
    forwards: int = 0


class BlockWriter(Protocol):
    """Writes one block for each row."""

    forwards: int

    def block(self, texts: Sequence[str], rows: Sequence[int], number: int) -> list[DrawnBlock]: ...


@dataclass
class CharacterWriter:
    """One character after the other, each seeing those before it.

    Attributes:
        model: see :class:`BlockModel`.
        tokenizer: see :class:`BlockTokenizer`.
        temperature: 0 takes the most probable character.
        top_k, top_p: keep the best characters; only with a temperature.
        seed: names all noise, with the row, the block and the character's place: a row writes the same in any batch.
        max_prefix: most tokens of the prefix that are read, the newest; None reads all.
    """

    model: BlockModel
    tokenizer: BlockTokenizer
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    max_prefix: int | None = None
    forwards: int = field(default=0, init=False)
    _state: Any = field(default=None, init=False, repr=False)
    _rows: list[int] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise UsageError(f"temperature={self.temperature} must not be negative; 0 takes the most probable")
        if self.temperature == 0 and (self.top_k is not None or self.top_p is not None):
            raise UsageError("top_k and top_p have no effect at temperature=0, which takes the most probable")
        if self.max_prefix is not None and self.max_prefix < 1:
            raise UsageError(f"max_prefix={self.max_prefix} must be at least 1, or None for all tokens")

    def block(self, texts: Sequence[str], rows: Sequence[int], number: int) -> list[DrawnBlock]:
        prefixes = self.tokenizer.encode_batch(list(texts))
        if self.max_prefix is not None:
            prefixes = [p[-self.max_prefix :] for p in prefixes]
        before = None
        if self._state is not None and set(rows) <= set(self._rows):
            before = self._state.rows([self._rows.index(row) for row in rows])
        logits_BV, state = self.model.begin(prefixes, before)
        found = [DrawnBlock([], [], len(p), r) for p, r in zip(prefixes, state.reused, strict=True)]
        for token in next_tokens(
            self.model.step,
            logits_BV,
            state,
            (torch.tensor(list(rows)), number),
            range(self.tokenizer.max_block + 1),  # one more than the characters: the end itself
            ends=self.tokenizer.ends,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            seed=self.seed,
        ):
            chance_B = token.logits_BV.double().softmax(-1).gather(1, token.ids_B[:, None])[:, 0]
            self.forwards, self._state = self.forwards + 1, token.state
            for drawn, i, p, live in zip(
                found, token.ids_B.tolist(), chance_B.tolist(), token.live_B.tolist(), strict=True
            ):
                if live:
                    drawn.forwards += 1
                    drawn.ids.append(i)
                    drawn.probabilities.append(p)
        self._rows = list(rows)
        return found


@dataclass
class MaskedWriter:
    """The whole block is a masked canvas behind the prefix; any sampler, order and quota fills it.

    Attributes:
        denoiser: a model whose block sees all of itself.
        canvas: texts to ids [B, L] with the blocks masked, and which positions exist.
        plan: how the block is filled.
        tokenizer: see :class:`BlockTokenizer`.
    """

    denoiser: Denoiser
    canvas: Callable[[Sequence[str]], tuple[Tensor, Tensor]]
    tokenizer: BlockTokenizer
    plan: DecodingPlan = field(default_factory=DecodingPlan)
    forwards: int = field(default=0, init=False)

    def block(self, texts: Sequence[str], rows: Sequence[int], number: int) -> list[DrawnBlock]:
        ids_BL, valid_BL = self.canvas(texts)
        hidden_BL = (ids_BL == self.denoiser.mask_id) & valid_BL
        name_B = hashed(number, torch.tensor(list(rows), device=ids_BL.device))
        found = generate(
            self.denoiser, ids_BL, self.plan, fill_BL=hidden_BL, valid_BL=valid_BL, row_ids_B=name_B, trace=None
        )
        self.forwards += found.forwards
        # what exists and is not the block: the prefix and <bob>
        tokens_B = (valid_BL & ~hidden_BL).sum(1) - 1
        return [DrawnBlock(found.sequences[b, hidden_BL[b]].tolist(), [], n) for b, n in enumerate(tokens_B.tolist())]


@dataclass(frozen=True)
class BlockEvent:
    """A block that a row has just finished: what is streamed and traced.

    Attributes:
        row: index of the prompt. number: which block of the row, from 0.
        block: its text, in order; empty if the text ended instead.
        text: everything the row says now, prompt and all.
        ended: the row wrote ``<eos>``.
        ids, probabilities, tokens, reused: see :class:`DrawnBlock`.
    """

    row: int
    number: int
    block: str
    text: str
    ended: bool
    ids: list[int]
    probabilities: list[float]
    tokens: int
    reused: int
    forwards: int = 0


@dataclass
class BlockGeneration:
    """What came out.

    Attributes:
        texts: what each row wrote, without its prompt.
        ended: whether it wrote ``<eos>`` before the limit.
        trace: every block in the order of writing; :meth:`save` writes it as JSON.
        forwards: passes through the model, each over all rows still being written.
    """

    texts: list[str]
    ended: list[bool]
    trace: list[BlockEvent]
    forwards: int

    def save(self, path: str | Path) -> Path:
        """Write the trace as JSON, one object a block."""
        return write_json(path, [asdict(e) for e in self.trace])


@dataclass
class BlockTrace:
    """Every block in the order of writing.

    Attributes:
        events: the blocks.
        prompts, texts: what each row was written behind, and what it wrote.
        names: spelling of an id.
        forwards: passes through the network.
    """

    events: list[BlockEvent]
    prompts: list[str]
    texts: list[str]
    names: Any = field(repr=False)
    forwards: int = 0

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, at: int) -> BlockEvent:
        return self.events[at]

    def save(self, path: str | Path) -> Path:
        """Write the blocks as JSON."""
        return write_json(path, [asdict(event) for event in self.events])


def stream_blocks(
    writer: BlockWriter,
    tokenizer: BlockTokenizer,
    prompts: Sequence[str],
    *,
    max_blocks: int = 64,
    row_ids: Sequence[int] | None = None,
) -> Iterator[BlockEvent]:
    """Write block after block and hand each out as it is finished, until every row has ended or ``max_blocks``.

    Args:
        writer: draws the blocks.
        tokenizer: puts them in order and tokenises what was written, all of it, before the next block.
        prompts: beginnings; "" writes from nothing.
        max_blocks: limit of each row.
        row_ids: names of the rows in the noise; 0.. when None.

    Raises:
        UsageError: no prompt, or a limit below 1.
    """
    if isinstance(prompts, str) or not len(prompts):
        raise UsageError("prompts must be a list with at least one text: write [text]")
    if max_blocks < 1:
        raise UsageError(f"max_blocks={max_blocks} must be at least 1")
    names = list(range(len(prompts))) if row_ids is None else list(row_ids)
    if len(set(names)) != len(prompts):
        raise UsageError(f"{len(prompts)} prompts need as many different row_ids, got {names}")
    texts, live = list(prompts), list(range(len(prompts)))
    for number in range(max_blocks):
        blocks = writer.block([texts[i] for i in live], [names[i] for i in live], number)
        going = []
        for i, drawn in zip(live, blocks, strict=True):
            block, ended = tokenizer.read_block(drawn.ids)
            texts[i] += block
            if not ended:
                going.append(i)
            yield BlockEvent(i, number, block, texts[i], ended, **vars(drawn))
        live = going
        if not live:
            return


def write_blocks(
    writer: BlockWriter,
    tokenizer: BlockTokenizer,
    prompts: Sequence[str],
    *,
    max_blocks: int = 64,
    row_ids: Sequence[int] | None = None,
    on_block: Callable[[BlockEvent], None] | None = None,
) -> BlockGeneration:
    """:func:`stream_blocks` to its end.

    Args:
        on_block: called with each block as it is finished.
    """
    texts, ended, trace = list(prompts), [False] * len(prompts), []
    before = writer.forwards
    for event in stream_blocks(writer, tokenizer, prompts, max_blocks=max_blocks, row_ids=row_ids):
        texts[event.row], ended[event.row] = event.text, event.ended
        trace.append(event)
        if on_block is not None:
            on_block(event)
    written = [text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True)]
    return BlockGeneration(written, ended, trace, writer.forwards - before)
