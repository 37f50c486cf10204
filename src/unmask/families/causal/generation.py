"""Left-to-right writing with a causal model of transformers, under our settings and our noise alone.

Of a folder's ``generation_config.json`` only the ids are taken over that end a text. All else that such a file may
hold (a repetition penalty, forbidden or forced words, a least length, beams ...) would act inside transformers'
``generate`` although nobody asked for it, so it does not act here; what is wanted is set in the call.

Shapes: B rows, L length, V ids.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.sampling import restrict
from unmask.decoding.autoregressive import next_tokens, penalised
from unmask.models.causal import CausalModel
from unmask.models.causal_prompts import end_ids, pad_id

#: what was read: the model's cache, the ids so far, and which of them are no padding
CacheState = tuple[Any, Tensor, Tensor]


@dataclass(frozen=True)
class CausalGenerationConfig:
    """The decoding settings of a causal model.

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
        if self.temperature == 0 and self.limits:
            name, value = next(iter(self.limits.items()))
            raise UsageError(f"{name}={value!r} has no effect at temperature=0, which takes the best")
        if self.repetition_penalty <= 0:
            raise UsageError(f"repetition_penalty={self.repetition_penalty} must be above 0; 1 is none")

    @property
    def limits(self) -> dict[str, Any]:
        """``top_k`` and ``top_p`` where they are given."""
        given = {"top_k": self.top_k, "top_p": self.top_p}
        return {name: value for name, value in given.items() if value is not None}


@torch.inference_mode()
def write_on(model: CausalModel, ids: Sequence[Tensor], writing: CausalGenerationConfig, first_row: int = 0) -> Tensor:
    """New ids [B, <= length] behind prompts of different lengths, padded behind their end; on the CPU.

    Args:
        model: from :func:`unmask.models.causal.load_causal`.
        ids: prompts, each at least one id.
        writing: the settings; nothing else acts.
        first_row: the number of the first prompt among all, which names its noise.
    """
    width, pad, count = max(map(len, ids)), pad_id(model), len(ids)
    takes = inspect.signature(model.model.forward).parameters
    if count > 1 and not {"past_key_values", "position_ids"} <= {*takes}:
        # padding would shift its places, or be read by a memory that heeds no mask
        alone = [write_on(model, [row], writing, first_row + i)[0] for i, row in enumerate(ids)]
        return torch.nn.utils.rnn.pad_sequence(alone, batch_first=True, padding_value=pad)
    # padded on the left, so that every row is continued in the same column
    x_BL = torch.full((count, width), pad)
    real_BL = torch.zeros_like(x_BL)
    for i, row in enumerate(ids):
        x_BL[i, width - len(row) :] = row
        real_BL[i, width - len(row) :] = 1
    read = _reader(model, writing.repetition_penalty)
    logits_BV, state = read(x_BL.to(model.device), (None, x_BL[:, :0].to(model.device), real_BL.to(model.device)))
    tokens = next_tokens(
        read,
        logits_BV,
        state,
        (torch.arange(first_row, first_row + count, device=model.device),),
        range(writing.length),
        ends=end_ids(model),
        temperature=writing.temperature,
        seed=writing.seed,
        **writing.limits,
    )
    return torch.stack([token.ids_B.masked_fill(~token.live_B, pad) for token in tokens], 1).cpu()


def _reader(model: CausalModel, penalty: float) -> Callable[[Tensor, CacheState], tuple[Tensor, CacheState]]:
    """What reads ids [B] or [B, L] behind a state: fp64 logits [B, V] of the next, and the state behind them.

    A network whose memory is no key-value cache (Mamba, RWKV ...) reads the whole row again for each token.
    """
    net = model.model
    takes = inspect.signature(net.forward).parameters
    last = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    def read(fed: Tensor, state: CacheState) -> tuple[Tensor, CacheState]:
        cache, before_BL, real_BL = state
        fed_BS = fed.view(len(before_BL), -1)
        ids_BL = torch.cat([before_BL, fed_BS], 1)
        if ids_BL.shape[1] > real_BL.shape[1]:
            real_BL = torch.cat([real_BL, torch.ones_like(fed_BS)], 1)
        if "past_key_values" in takes:
            places_BL = (real_BL.cumsum(1) - 1).clamp(min=0)
            where = {"position_ids": places_BL[:, -fed_BS.shape[1] :]} if "position_ids" in takes else {}
            out = net(input_ids=fed_BS, attention_mask=real_BL, past_key_values=cache, use_cache=True, **where, **last)
            cache = out.past_key_values
        else:
            inputs = net.prepare_inputs_for_generation(ids_BL, attention_mask=real_BL, use_cache=False)
            out = net(**{**inputs, **last})
        logits_BV = out.logits[:, -1].float()
        return penalised(logits_BV, ids_BL, penalty, real_BL).double(), (cache, ids_BL, real_BL)

    return read
