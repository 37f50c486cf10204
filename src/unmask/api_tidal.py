"""What :mod:`unmask.api` does with a tidal model or one of its plain baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from unmask.core.errors import UnmaskError, WrongUse
from unmask.core.files import write_json
from unmask.core.precision import fastest
from unmask.core.render import save_page
from unmask.data.text import evenly, load_texts
from unmask.data.tidal.dataset import Example
from unmask.data.tidal.mixed_tokenizer import BOB
from unmask.decoding.tidal import BlockEvent
from unmask.evaluation.tidal import write
from unmask.evaluation.tidal_report import TidalEvaluation
from unmask.models.tidal_text import TidalTextModel
from unmask.reporting.attention import attention_page
from unmask.reporting.blocks import blocks_page

#: settings of a plan that a block in any order takes
PLAN = ("order", "quota", "steps", "remasking", "sampler")


@dataclass
class BlockSamples:
    """What a tidal model wrote.

    Attributes:
        texts: what each row wrote, without its prompt.
        prompts: what it was written behind.
        ended: whether the row wrote its end before the limit.
        trace: every block in the order of writing.
        forwards: passes through the network.
        model: what wrote them.
        precision: what the network ran in.
    """

    texts: list[str]
    prompts: list[str]
    ended: list[bool]
    trace: list[BlockEvent]
    forwards: int
    model: TidalTextModel
    precision: str = "fp32"

    def save_trace(self, path: str | Path) -> Path:
        """Write the blocks as ``.json`` or ``.html``.

        Raises:
            WrongUse: the name has another ending.
        """
        path = Path(path)
        if path.suffix == ".json":
            return write_json(path, [asdict(event) for event in self.trace])
        if path.suffix == ".html":
            return save_page(path, self.trace_page())
        raise WrongUse(f"a trace is written as .html or .json, not {path.name!r}")

    def trace_page(self) -> str:
        """A page with every block: what was drawn, in the order of drawing, and what it says."""
        name = self.model.tokenizer.name
        return blocks_page(self.trace, self.prompts, self.texts, name, self.forwards)

    def save_attention(self, path: str | Path, row: int = 0, number: int = -1) -> Path:
        """Draw who looks at whom while a block is written: its prefix and itself, every layer and head.

        Args:
            path: an ``.html`` file.
            row: which text.
            number: which of its blocks; the last when -1.

        Raises:
            WrongUse: there is no such block, or the name has another ending.
        """
        if Path(path).suffix != ".html":
            raise WrongUse(f"attention is drawn as .html, not {Path(path).name!r}")
        events = [event for event in self.trace if event.row == row]
        if not -len(events) <= number < len(events):
            raise WrongUse(f"row {row} has {len(events)} blocks: there is no block {number}")
        if self.model.denoiser.config.writes != "blocks":
            raise WrongUse("a plain baseline has no blocks whose attention could be drawn")
        event = events[number]
        before = self.prompts[row] + "".join(e.block for e in events[: events.index(event)])
        tokens = self.model.tokenizer.encode(before)[-event.tokens :] if event.tokens else []
        ids = [*tokens, BOB, *event.ids]
        weights = self.model.denoiser.attention_weights(torch.tensor([ids], device=self.model.device))[:, 0]
        names = [self.model.tokenizer.name(i) for i in ids]
        return save_page(path, attention_page(weights.cpu(), names, block_from=len(tokens)))


def sample_tidal(model: TidalTextModel, texts: Sequence[Any] | None, n: int | None, given: dict[str, Any]) -> Any:
    """:func:`unmask.api.sample` for a tidal model: continue prompts, or write from nothing.

    Args:
        texts: what to continue.
        n: samples a prompt, or in all without prompts.
        given: the other settings that differ from their defaults; ``length`` counts blocks (64), of a plain baseline
            ids (256).

    Raises:
        WrongUse: a setting that has no effect on this model, or counts below 1.
    """
    if n is not None and n < 1:
        raise WrongUse(f"n={n} must be at least 1")
    if isinstance(texts, str) or (texts is not None and not all(isinstance(text, str) for text in texts)):
        raise WrongUse("texts must be a list of texts to continue: write [text]")
    temperature = given.pop("temperature", None)
    if temperature is None:
        temperature = 1.0 if texts is None or (n or 1) > 1 else 0.0
    settings: dict[str, Any] = {k: given.pop(k) for k in ("top_k", "top_p", "seed", "batch_size") if k in given}
    if "length" in given and model.denoiser.config.writes != "blocks":
        settings["most"] = given.pop("length")
    blocks, show, callback = given.pop("length", 64), given.pop("live", False), given.pop("callback", None)
    precision = given.pop("precision", "auto")
    for quiet in ("trace", "share"):
        given.pop(quiet, None)
    plan = {k: given.pop(k) for k in PLAN if k in given}
    if given:
        raise WrongUse(f"{next(iter(given))} has no effect on a tidal model, which continues texts block by block")
    prompts = [text for text in ([""] if texts is None else texts) for _ in range(n or 1)]

    def on_block(event: BlockEvent) -> None:
        if show and event.row == 0:
            print(event.block, end="", flush=True)
        if callback is not None:
            callback(event)

    rows = min(settings.get("batch_size", 64), len(prompts))
    chosen = fastest(model.denoiser, rows * model.card.length, model.device, precision)
    with chosen.autocast(model.device):
        found = write(
            model, prompts, max_blocks=blocks, temperature=temperature, plan=plan, on_block=on_block, **settings
        )
    if show:
        print()
    return BlockSamples(found.texts, prompts, found.ended, found.trace, found.forwards, model, chosen.precision)


def evaluate_tidal(
    model: TidalTextModel, data: Any, column: str | None, texts: int, given: dict[str, Any], about: dict[str, str]
) -> TidalEvaluation:
    """:func:`unmask.api.evaluate` for a tidal model."""
    from unmask.evaluation.tidal_report import evaluate_tidal as score

    for quiet in ("samples", "trace", "share"):
        given.pop(quiet, None)
    settings = {k: given.pop(k) for k in ("temperature", "judge", "seed", "length") if k in given}
    plan = {k: given.pop(k) for k in PLAN if k in given}
    if given:
        raise WrongUse(f"{next(iter(given))} has no effect on a tidal model, which continues texts block by block")
    if texts < 1:
        raise WrongUse(f"texts={texts} must be at least 1")
    held_out, train = examples_for(model, data, column)
    chosen = [held_out[i] for i in evenly(len(held_out), texts)]
    known = [prompt + text for prompt, text in train] or None
    return score(model, chosen, training_texts=known, plan=plan, about=about, **settings)


def examples_for(
    model: TidalTextModel, data: Any = None, column: str | None = None
) -> tuple[list[Example], list[Example]]:
    """Held-out (prompt, text) pairs and those that were trained on.

    Args:
        model: its card says what it was trained on.
        data: texts or pairs, a source for :func:`unmask.data.text.load_texts`, or None for what training held out.
        column: the text's column.

    Raises:
        WrongUse: the card names no data, ``data`` is not made of texts or pairs, or every one was trained on.
    """
    from unmask.evaluation.held_out import relation_of
    from unmask.training.arguments import DataArguments, field_names
    from unmask.training.recipe import parse
    from unmask.training.tidal import ARITHMETIC, tidal_examples

    if data is not None and not isinstance(data, (str, Path)):
        rows = [("", row) if isinstance(row, str) else tuple(row) for row in data]
        if not rows or not all(len(row) == 2 and all(isinstance(x, str) for x in row) for row in rows):
            raise WrongUse("data must be texts or (prompt, text) pairs, or the name of a corpus, file or folder")
        return rows, []
    own = {k: v for k, v in model.card.recipe.items() if k in field_names(DataArguments)}
    if data is None and "data" not in own:
        raise WrongUse("this model's card names no data: say which texts to use with data=")
    if data is None and column is not None and column != own.get("column"):
        raise WrongUse(f"column={column!r} goes with data=: the model's own is read as in training")

    def split(recipe: Mapping[str, Any]) -> tuple[list[Example], list[Example]]:
        fixed = {"family": "tidal", "task": "unconditional", "conditioning": "none", "output_dir": "."}
        train, held_out, _ = tidal_examples(parse({**recipe, **fixed}), lambda _: None)
        return held_out, train

    relation = "own" if data is None else relation_of(data, column, own) if "data" in own else "other"
    if relation == "own":
        return split(own)
    try:
        known = split(own)[1] if "data" in own else []
    except UnmaskError:
        known = []  # its data is not at hand
    if relation == "kin" or data == ARITHMETIC:
        shared: dict[str, Any] = {k: own[k] for k in ("validation", "split_seed") if k in own}
        theirs = split({"data": str(data), **({} if column is None else {"column": column}), **shared})[0]
    else:
        found = load_texts(str(data), column=column, validation=0.0)
        found.report.announce()
        theirs = [("", text) for text in found.train]
    if relation == "kin":
        return theirs, known
    old = set(known)
    fresh = [example for example in theirs if example not in old]
    if not fresh:
        raise WrongUse(f"{str(data)!r}: every one of its texts was trained on")
    return fresh, known


def tidal_subject(model: TidalTextModel, data: Any = None, column: str | None = None, length: int | None = None) -> Any:
    """A tidal model as a subject of the diagnosis, with its own held-out texts or the given ones."""
    from unmask.diagnosis.tidal import tidal_subject as subject

    held_out, train = examples_for(model, data, column)
    known = [train[i] for i in evenly(len(train), 4096)] if train else None
    return subject(model, [held_out[i] for i in evenly(len(held_out), 4096)], known, length=length)
