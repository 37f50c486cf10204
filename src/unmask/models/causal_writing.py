"""Left-to-right writing with a causal model: transformers' ``generate`` under our settings and our noise alone.

Of a folder's ``generation_config.json`` only the ids are taken over that end a text. All else that such a file may
hold (a repetition penalty, forbidden or forced words, a least length, beams ...) would act inside ``generate`` although
nobody asked for it, so it does not act here; what is wanted is set in the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.random import Stream, uniform
from unmask.core.sampling import categorical, restrict
from unmask.models.causal import CausalModel


@dataclass(frozen=True)
class Writing:
    """How a causal model writes.

    Attributes:
        temperature: 0 takes the most probable token.
        top_k, top_p: draw among the most probable ids only.
        repetition_penalty: above 1 makes ids less likely that the row holds already, its prompt included.
        length: most new tokens.
        seed: of the draws; a row's draws depend on the seed, the row and the place only.

    Raises:
        UsageError: a value out of range.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    length: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        restrict(torch.zeros(1, 2), temperature=self.temperature, **self.limits)  # raises what does not fit
        if self.length < 1:
            raise UsageError(f"length={self.length} must be at least 1")
        if self.repetition_penalty <= 0:
            raise UsageError(f"repetition_penalty={self.repetition_penalty} must be above 0; 1 is none")

    @property
    def limits(self) -> dict[str, Any]:
        """``top_k`` and ``top_p`` where they are given."""
        given = {"top_k": self.top_k, "top_p": self.top_p}
        return {name: value for name, value in given.items() if value is not None}


def prompt_ids(model: CausalModel, text: Any) -> Tensor:
    """Ids of one prompt; one without any starts from the model's start of text.

    Args:
        model: from :func:`unmask.models.causal.load_causal`.
        text: to be continued, or a chat for a model with a chat template.

    Raises:
        UsageError: a chat without a chat template, or no prompt for a model without a start of text.
    """
    tokenizer = model.tokenizer
    if not isinstance(text, str):
        if getattr(tokenizer, "chat_template", None) is None:
            raise UsageError(f"{model.name} has no chat template: give its prompts as texts")
        found = tokenizer.apply_chat_template(text, add_generation_prompt=True, return_dict=True)["input_ids"]
        return torch.tensor(found, dtype=torch.long)
    ids = model.encode(text)
    if len(ids):
        return ids
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if begin is None:
        raise UsageError(f"{model.name} has no start of text to write from: give a prompt")
    return torch.tensor([begin])


def pad_id(model: CausalModel) -> int:
    """An id to fill rows up with; it is masked, so any would do."""
    t = model.tokenizer
    return next((i for i in (t.pad_token_id, t.eos_token_id, t.bos_token_id) if i is not None), 0)


def positions(model: CausalModel) -> int | None:
    """How many tokens a prompt and what is written behind it may have; None where the positions do not end."""
    found = getattr(model.model.config, "max_position_embeddings", None)
    return None if found is None else int(found)


def end_ids(model: CausalModel) -> list[int]:
    """The ids that end a text: generation_config.json's, else config.json's, else the tokenizer's; may be none."""
    settings = getattr(model.model, "generation_config", None)
    ways = (settings, model.model.config, model.tokenizer)
    found = next((e for e in (getattr(way, "eos_token_id", None) for way in ways) if e is not None), None)
    return [] if found is None else [int(i) for i in (found if isinstance(found, (list, tuple)) else [found])]


@torch.inference_mode()
def write_on(model: CausalModel, ids: Sequence[Tensor], writing: Writing, first_row: int = 0) -> Tensor:
    """New ids [B, <= length] behind prompts of different lengths, padded behind their end; on the CPU.

    Args:
        model: from :func:`unmask.models.causal.load_causal`.
        ids: prompts, each at least one id.
        writing: the settings; nothing else acts.
        first_row: the number of the first prompt among all, which names its noise.
    """
    from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor

    penalty = writing.repetition_penalty
    steps = LogitsProcessorList([] if penalty == 1.0 else [RepetitionPenaltyLogitsProcessor(penalty)])
    if writing.temperature > 0:
        steps.append(_Draw(writing.seed, first_row, {"temperature": writing.temperature, **writing.limits}))
    width, pad = max(map(len, ids)), pad_id(model)
    x_BL = torch.full((len(ids), width), pad)
    seen_BL = torch.zeros_like(x_BL)
    for i, row in enumerate(ids):
        x_BL[i, width - len(row) :] = row
        seen_BL[i, width - len(row) :] = 1
    with _plain_settings(model, writing.length) as settings:
        out = model.model.generate(
            x_BL.to(model.device),
            attention_mask=seen_BL.to(model.device),
            generation_config=settings,
            logits_processor=steps,
        )
    return out[:, width:].cpu()


@contextmanager
def _plain_settings(model: CausalModel, length: int) -> Iterator[Any]:
    """Settings under which ``generate`` takes the most probable token until an end; the model's own are put aside.

    Settings that are given leave room for the model's own wherever they say nothing, so those must not be there.
    """
    from transformers import GenerationConfig

    ends = end_ids(model)
    settings = GenerationConfig(
        max_new_tokens=length,
        do_sample=False,
        num_beams=1,
        pad_token_id=pad_id(model),
        eos_token_id=ends or None,
        bos_token_id=model.tokenizer.bos_token_id,
    )
    own = getattr(model.model, "generation_config", None)
    model.model.generation_config = GenerationConfig()
    try:
        yield settings
    finally:
        model.model.generation_config = own


class _Draw:
    """A logits processor that leaves each row only the token it drew, so that ``generate``'s argmax takes it."""

    def __init__(self, seed: int, first: int, limits: dict[str, Any]) -> None:
        self.seed, self.first, self.limits, self.written = seed, first, limits, 0

    def __call__(self, ids_BL: Tensor, logits_BV: Tensor) -> Tensor:
        row_B = torch.arange(self.first, self.first + len(ids_BL), device=ids_BL.device)
        allowed_BV = restrict(logits_BV.double(), **self.limits)
        chosen_B = categorical(allowed_BV, uniform(self.seed, row_B, self.written, Stream.VALUE))
        self.written += 1
        return torch.full_like(logits_BV, -torch.inf).scatter(1, chosen_B[:, None], 0.0)
