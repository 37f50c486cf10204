"""What :mod:`unmask.api` does with a causal language model: continue prompts, and the diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import WrongUse
from unmask.core.precision import fastest
from unmask.core.unknown import unknown_tokens, warn_of_unknown
from unmask.data import ranks
from unmask.models.causal import SMOLLM2, CausalModel, load_causal
from unmask.models.causal_writing import Writing, pad_id, prompt_ids, write_on
from unmask.models.hub import find, read_config
from unmask.models.kind import kind_of

__all__ = ["CausalSamples", "causal_subject", "is_causal", "load_causal", "sample_causal"]


@dataclass
class CausalSamples:
    """What a causal model wrote.

    Attributes:
        texts: what each row wrote, without its prompt.
        prompts: what it was written behind.
        sequences: new ids [B, L], padded behind their end.
        forwards: passes through the network.
        model: what wrote them.
        trace: always None: the order is left to right.
        precision: what the network ran in.
    """

    texts: list[str]
    prompts: list[Any]
    sequences: Tensor
    forwards: int
    model: CausalModel
    trace: None = None
    precision: str = "fp32"

    def save_trace(self, path: str | Path) -> Path:
        """There is none to write.

        Raises:
            WrongUse: always.
        """
        raise WrongUse("a causal model has no trace: it writes left to right")


def is_causal(path_or_id: str | Path) -> bool:
    """Whether ``config.json`` there is a causal language model's (:func:`unmask.models.kind.kind_of`).

    Raises:
        WrongUse: there is no such folder or hub id.
        CheckpointError: its ``config.json`` cannot be read.
    """
    if str(path_or_id) == SMOLLM2:
        return True
    folder = find(path_or_id)
    return (folder / "config.json").is_file() and kind_of(read_config(folder)).family == "causal"


def sample_causal(
    model: CausalModel, texts: Sequence[Any] | None, n: int | None, given: dict[str, Any]
) -> CausalSamples:
    """:func:`unmask.api.sample` for a causal model (:mod:`unmask.models.causal_writing`).

    Of a folder's generation_config.json only the ids that end a text are taken over. A row's noise depends on the
    seed, the row and the position only, so a batch draws what its rows draw alone.

    Args:
        texts: prompts: texts to continue, or chats for a model with a chat template; None starts from nothing.
        n: samples a prompt, or in all without prompts.
        given: the other settings that differ from their defaults; ``length`` counts new tokens.

    Raises:
        WrongUse: a setting that has no effect on this model, counts below 1, or chats without a chat template.
    """
    if n is not None and n < 1:
        raise WrongUse(f"n={n} must be at least 1")
    if isinstance(texts, str) or (texts is not None and not len(texts)):
        raise WrongUse("texts must be a list of prompts, at least one: write [text]")
    if given.get("temperature") is None:
        given["temperature"] = 1.0 if texts is None or (n or 1) > 1 else 0.0
    size, precision, share = given.pop("batch_size", 64), given.pop("precision", "auto"), given.pop("share", False)
    if size < 1:
        raise WrongUse(f"batch_size={size} must be at least 1")
    writing = Writing(**{f.name: given.pop(f.name) for f in fields(Writing) if f.name in given})
    if given:
        raise WrongUse(f"{next(iter(given))} has no effect on a causal model, which writes left to right")
    prompts = [text for text in ([""] if texts is None else texts) for _ in range(n or 1)]
    warn_of_unknown(unknown_tokens(model.tokenizer, [p for p in prompts if isinstance(p, str)]), model.name, "prompts")
    ids = [prompt_ids(model, text) for text in prompts]
    parts, forwards = [], 0
    mine = ranks.share(len(ids)) if share else range(len(ids))
    # weights that are in bf16 already stay so
    chosen = fastest(model.model, min(size, len(ids)) * max(map(len, ids)), model.device, precision)
    chosen = ranks.from_first(chosen) if share else chosen
    for first in range(mine.start, mine.stop, size):
        with chosen.autocast(model.device):
            rows = write_on(model, ids[first : min(first + size, mine.stop)], writing, first)
        parts += list(rows)
        forwards += rows.shape[1]
    if share:
        parts, forwards = ranks.gather(parts), sum(ranks.gather([forwards]))
    sequences = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=pad_id(model))
    return CausalSamples(
        model.tokenizer.batch_decode(sequences, skip_special_tokens=True),
        prompts,
        sequences,
        forwards,
        model,
        precision=chosen.precision,
    )


def causal_subject(model: CausalModel, data: Any, column: str | None = None, length: int | None = None) -> Any:
    """A causal model with texts as a subject of the diagnosis.

    Raises:
        WrongUse: no texts are given: a causal model does not say what it was trained on.
    """
    from unmask.diagnosis.causal import CausalSubject
    from unmask.evaluation.held_out import unseen

    if data is None:
        raise WrongUse("a causal model does not say what it was trained on: name texts to score with data=")
    _, texts = unseen(data, column, 4096)
    return CausalSubject.of(model, texts, length=64 if length is None else length)
