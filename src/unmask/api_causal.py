"""What :mod:`unmask.api` does with a causal language model: continue prompts, and the diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.core.draw import categorical, restrict
from unmask.core.errors import WrongUse
from unmask.core.random import Stream, uniform
from unmask.data import ranks
from unmask.models.causal import SMOLLM2, CausalModel, load_causal

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
    """

    texts: list[str]
    prompts: list[Any]
    sequences: Tensor
    forwards: int
    model: CausalModel
    trace: None = None

    def save_trace(self, path: str | Path) -> Path:
        """There is none to write.

        Raises:
            WrongUse: always.
        """
        raise WrongUse("a causal model has no trace: it writes left to right")


def is_causal(path_or_id: str | Path) -> bool:
    """Whether ``config.json`` there says that it is a decoder that transformers loads for causal language modelling.

    Raises:
        WrongUse: there is no such folder or hub id.
        CheckpointError: its ``config.json`` cannot be read.
    """
    from unmask.models.adapters import dream, llada
    from unmask.models.adapters.load import find, read_config

    if str(path_or_id) == SMOLLM2:
        return True
    raw = read_config(find(path_or_id))
    names = [str(name) for name in raw.get("architectures") or []]
    masked = raw.get("model_type") in (llada.MODEL_TYPE, dream.MODEL_TYPE)
    return not masked and any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names)


def sample_causal(
    model: CausalModel, texts: Sequence[Any] | None, n: int | None, given: dict[str, Any]
) -> CausalSamples:
    """:func:`unmask.api.sample` for a causal model: transformers' ``generate`` with our noise.

    A row's noise depends on the seed, the row and the position only, so a batch draws what its rows draw alone.

    Args:
        texts: prompts: texts to continue, or chats for a model with a chat template; None starts from nothing.
        n: samples a prompt, or in all without prompts.
        given: the other settings that differ from their defaults; ``length`` counts new tokens.

    Raises:
        WrongUse: a setting that has no effect on this model, counts below 1, or chats without a chat template.
    """
    from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor

    if n is not None and n < 1:
        raise WrongUse(f"n={n} must be at least 1")
    if isinstance(texts, str) or (texts is not None and not len(texts)):
        raise WrongUse("texts must be a list of prompts, at least one: write [text]")
    temperature = given.pop("temperature", None)
    if temperature is None:
        temperature = 1.0 if texts is None or (n or 1) > 1 else 0.0
    seed, size = given.pop("seed", 0), given.pop("batch_size", 64)
    length, precision = given.pop("length", 64), given.pop("precision", "fp32")
    limits: dict[str, Any] = {name: given.pop(name) for name in ("top_k", "top_p") if name in given}
    penalty = given.pop("repetition_penalty", 1.0)
    share = given.pop("share", False)
    if given:
        raise WrongUse(f"{next(iter(given))} has no effect on a causal model, which writes left to right")
    restrict(torch.zeros(1, 2), temperature=temperature, **limits)  # raises what does not fit before work starts
    if length < 1 or size < 1:
        raise WrongUse(f"length={length} and batch_size={size} must be at least 1")
    prompts = [text for text in ([""] if texts is None else texts) for _ in range(n or 1)]
    ids = [_prompt(model, text) for text in prompts]
    parts, forwards = [], 0
    mine = ranks.share(len(ids)) if share else range(len(ids))
    for first in range(mine.start, mine.stop, size):
        steps = LogitsProcessorList([] if penalty == 1.0 else [RepetitionPenaltyLogitsProcessor(penalty)])
        if temperature > 0:
            steps.append(_Draw(seed, first, {"temperature": temperature, **limits}))
        with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
            rows = _continue(model, ids[first : min(first + size, mine.stop)], length, steps)
        parts += list(rows)
        forwards += rows.shape[1]
    if share:
        parts, forwards = ranks.gather(parts), sum(ranks.gather([forwards]))
    pad = _pad(model)
    sequences = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=pad)
    return CausalSamples(
        model.tokenizer.batch_decode(sequences, skip_special_tokens=True), prompts, sequences, forwards, model
    )


def causal_subject(model: CausalModel, data: Any, column: str | None = None) -> Any:
    """A causal model with texts as a subject of the diagnosis.

    Raises:
        WrongUse: no texts are given: a causal model does not say what it was trained on.
    """
    from unmask.diagnosis.causal import CausalSubject
    from unmask.evaluation.held_out import unseen

    if data is None:
        raise WrongUse("a causal model does not say what it was trained on: name texts to score with data=")
    _, texts = unseen(data, column, 4096)
    return CausalSubject.of(model, texts)


def _prompt(model: CausalModel, text: Any) -> Tensor:
    """Ids of one prompt; one without any starts from the model's start of text."""
    tokenizer = model.tokenizer
    if not isinstance(text, str):
        if getattr(tokenizer, "chat_template", None) is None:
            raise WrongUse(f"{model.name} has no chat template: give its prompts as texts")
        found = tokenizer.apply_chat_template(text, add_generation_prompt=True, return_dict=True)["input_ids"]
        return torch.tensor(found, dtype=torch.long)
    ids = model.encode(text)
    if len(ids):
        return ids
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if begin is None:
        raise WrongUse(f"{model.name} has no start of text to write from: give a prompt")
    return torch.tensor([begin])


def _pad(model: CausalModel) -> int:
    t = model.tokenizer
    return next((i for i in (t.pad_token_id, t.eos_token_id, t.bos_token_id) if i is not None), 0)


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


@torch.inference_mode()
def _continue(model: CausalModel, ids: Sequence[Tensor], length: int, steps: Any) -> Tensor:
    """New ids [B, <= length] behind prompts of different lengths, which are padded on the left."""
    width = max(map(len, ids))
    x_BL = torch.full((len(ids), width), _pad(model))
    seen_BL = torch.zeros_like(x_BL)
    for i, row in enumerate(ids):
        x_BL[i, width - len(row) :] = row
        seen_BL[i, width - len(row) :] = 1
    out = model.model.generate(
        x_BL.to(model.device),
        attention_mask=seen_BL.to(model.device),
        max_new_tokens=length,
        do_sample=False,
        num_beams=1,
        temperature=None,
        top_k=None,
        top_p=None,
        pad_token_id=_pad(model),
        logits_processor=steps,
    )
    return out[:, width:].cpu()
