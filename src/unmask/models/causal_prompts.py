"""What a causal model reads: the ids of prompts, padding, the ids that end a text, and how many positions there are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.models.causal import CausalModel


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
    """The context length: most tokens of a prompt and its continuation; None where positions do not end."""
    found = getattr(model.model.config, "max_position_embeddings", None)
    return None if found is None else int(found)


def end_ids(model: CausalModel) -> list[int]:
    """The ids that end a text: generation_config.json's, else config.json's, else the tokenizer's; may be none."""
    settings = getattr(model.model, "generation_config", None)
    ways = (settings, model.model.config, model.tokenizer)
    found = next((e for e in (getattr(way, "eos_token_id", None) for way in ways) if e is not None), None)
    return [] if found is None else [int(i) for i in (found if isinstance(found, (list, tuple)) else [found])]
