"""What a tidal model writes and what texts cost it: the same calls for blocks in order, in any order, and baselines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from unmask.core.errors import UsageError
from unmask.data.tidal.dataset import Example, TidalDataset, batches
from unmask.data.tidal.plain import PlainTokenizer
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.tidal import (
    BlockEvent,
    BlockGeneration,
    BlockTokenizer,
    BlockWriter,
    CharacterWriter,
    MaskedWriter,
    write_blocks,
)
from unmask.diffusion.blocks import bits_per_character
from unmask.evaluation.scored import LeftOut
from unmask.models.tidal_text import TidalTextModel


def writer_for(
    model: TidalTextModel,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    most: int = 256,
    plan: dict[str, Any] | None = None,
) -> tuple[BlockWriter, BlockTokenizer]:
    """What draws this model's blocks, and the tokenizer that reads them.

    Args:
        model: from :func:`unmask.models.tidal_text.load_tidal` or training.
        temperature, top_k, top_p, seed: of the draws.
        most: ids that a plain baseline may write.
        plan: further settings of :class:`DecodingPlan` (order, steps, quota ...), for a model that writes in any order.

    Raises:
        UsageError: a plan for a model that draws its characters in order.
    """
    config = model.denoiser.config
    if config.attention == "masked":
        chosen = DecodingPlan(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, **(plan or {}))
        return MaskedWriter(model.denoiser, model.canvas, model.tokenizer, chosen), model.tokenizer
    if plan:
        raise UsageError(
            f"{next(iter(plan))} has no effect with attention={config.attention!r}: characters have an order"
        )
    tokenizer: BlockTokenizer = model.tokenizer
    # the prefix is cut as it was in training: a causal row is whole, and only learned positions end
    room = model.room if config.attention == "tidal" or config.positions == "learned" else None
    if config.writes != "blocks":
        tokenizer, room = PlainTokenizer(model.tokenizer, config.writes, most), None
    writer = CharacterWriter(
        model.denoiser, tokenizer, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, max_prefix=room
    )
    return writer, tokenizer


def write(
    model: TidalTextModel,
    prompts: Sequence[str],
    *,
    max_blocks: int = 64,
    batch_size: int = 64,
    on_block: Callable[[BlockEvent], None] | None = None,
    names: Sequence[int] | None = None,
    **settings: Any,
) -> BlockGeneration:
    """Continue each prompt until its end or ``max_blocks``; the same texts whatever ``batch_size``.

    Args:
        prompts: "" writes from nothing.
        max_blocks: limit of each text; a plain baseline writes one, of at most ``most`` ids.
        on_block: called with every block as it is finished, with the row of the whole list of prompts.
        names: of the rows in the noise; 0, 1 ... when None.
        settings: of :func:`writer_for`.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size={batch_size} must be at least 1")
    if isinstance(prompts, str) or not len(prompts):
        raise UsageError("prompts must be a list with at least one text: write [text]")
    found = BlockGeneration([], [], [], 0)
    for start in range(0, len(prompts), batch_size):
        part = prompts[start : start + batch_size]
        if model.denoiser.config.writes != "blocks":
            # the whole continuation is one block
            max_blocks, settings["most"] = 1, _fitting(model, part, settings.get("most", 256))
        # a fresh writer: the states it keeps belong to one batch of rows
        writer, tokenizer = writer_for(model, **settings)
        ids = list(range(start, start + len(part))) if names is None else list(names[start : start + len(part)])
        one = write_blocks(writer, tokenizer, part, max_blocks=max_blocks, row_ids=ids, on_block=on_block)
        found.texts += one.texts
        found.ended += one.ended
        found.trace += one.trace
        found.forwards += one.forwards
    return found


def _fitting(model: TidalTextModel, prompts: Sequence[str], most: int) -> int:
    """How many ids a plain baseline can write behind these prompts: learned positions end.

    Raises:
        UsageError: none.
    """
    c = model.denoiser.config
    if most < 1:
        raise UsageError(f"length={most} must be at least 1")
    if c.positions != "learned":
        return most
    read = max(map(len, PlainTokenizer(model.tokenizer, c.writes).encode_batch(prompts)))
    if read + 1 >= c.max_position_embeddings:
        raise UsageError(
            f"a prompt of {read} ids leaves no room to write: learned positions end at {c.max_position_embeddings}"
        )
    # the last id is drawn and not read
    return min(most, c.max_position_embeddings - read - 1)


def greedy_exact_match(model: TidalTextModel, examples: Sequence[Example], batch_size: int = 256) -> list[bool]:
    """Whether each example's text is written exactly, its end included, taking the most probable characters."""
    blocks = max(len(model.tokenizer.split(text)) for _, text in examples)
    written = write(model, [prompt for prompt, _ in examples], max_blocks=blocks + 1, batch_size=batch_size, most=32)
    return [
        ended and text == wanted
        for text, ended, (_, wanted) in zip(written.texts, written.ended, examples, strict=True)
    ]


def row_length(model: TidalTextModel, length: int | None = None) -> int:
    """Most positions of a row: those asked for, or the card's.

    Raises:
        UsageError: a length the model has no positions for.
    """
    config = model.denoiser.config
    most = config.max_position_embeddings if config.positions == "learned" else None
    if length is not None and (length < 2 or (most is not None and length > most)):
        raise UsageError(f"length={length} must lie in 2..{most or ''}, the positions this model has")
    return model.card.length if length is None else length


def rows_for(model: TidalTextModel, examples: Sequence[Example], length: int | None = None) -> TidalDataset:
    """The rows that training makes of (prompt, text) pairs.

    Args:
        model, examples: the model and the pairs.
        length: see :func:`row_length`.

    Raises:
        UsageError: none fits, or a length the model has no positions for.
    """
    c = model.denoiser.config
    most = row_length(model, length)
    return TidalDataset(model.tokenizer, examples, attention=c.attention, writes=c.writes, length=most)


def fitting(
    model: TidalTextModel, examples: Sequence[Example], length: int | None = None
) -> tuple[list[Example], LeftOut]:
    """The examples whose rows fit, and how many do not; a model whose rows are single blocks takes every text.

    Args:
        model, examples, length: see :func:`rows_for`.

    Raises:
        UsageError: see :func:`rows_for`.
    """
    data = rows_for(model, examples, length)
    limit = model.denoiser.config.max_position_embeddings if model.denoiser.config.positions == "learned" else None
    left_out = LeftOut(len(examples), too_long=data.over_long, length=data.length, limit=limit)
    return [examples[i] for i in data.index[:, 0].unique().tolist()], left_out


def bits(
    model: TidalTextModel, examples: Sequence[Example], count: int = 256, seed: int = 0, length: int | None = None
) -> dict[str, float]:
    """Bits a character of ``count`` examples (see :func:`unmask.diffusion.blocks.bits_per_character`)."""
    data = rows_for(model, examples, length)
    rows, characters = data.rows_of(count)
    training = model.denoiser.training
    model.denoiser.eval()
    figures = bits_per_character(model.denoiser, batches(rows), characters, seed=seed, device=model.device)
    model.denoiser.train(training)
    return figures


def exact_match_probe(model: TidalTextModel, examples: Sequence[Example], show: int = 2) -> Any:
    """A probe for training: ``generation`` is the share of examples written exactly."""

    def probe(net: Any, step: int) -> tuple[dict[str, float], list[str]]:
        right = greedy_exact_match(model, examples)
        share = sum(right) / len(right)
        shown = write(model, [prompt for prompt, _ in examples[:show]], max_blocks=4, most=32) if show else None
        lines = [f"step {step}: {share:.1%} of {len(right)} written exactly"]
        if shown is not None:
            lines += [f"  {prompt}{text}" for (prompt, _), text in zip(examples, shown.texts, strict=False)]
        return {"generation": share}, lines

    return probe


def text_probe(model: TidalTextModel, references: Sequence[str], show: int = 2, max_blocks: int = 48) -> Any:
    """A probe for training: ``generation`` is how near the words of free samples come to those of held-out texts."""
    from unmask.metrics.word_distribution import word_distribution_overlap

    def probe(net: Any, step: int) -> tuple[dict[str, float], list[str]]:
        found = write(model, [""] * len(references), temperature=1.0, max_blocks=max_blocks)
        score = word_distribution_overlap(found.texts, references)
        return {"generation": score}, [f"step {step}: generation {score:.3f}", *(f"  {t}" for t in found.texts[:show])]

    return probe
