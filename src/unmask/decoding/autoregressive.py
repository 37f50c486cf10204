"""The loop from left to right: draw the next token of every row, read it, go on; noise is named by row and place.

The loop knows no model and no prompt. Whoever calls it has read the prompts, padded as the model wants them, and gives
the logits of what follows; positions, masks and caches are the model's, in a state that is handed from step to step.

Shapes: B rows, V ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.core.random import Stream, uniform
from unmask.core.sampling import categorical, restrict


@dataclass(frozen=True)
class Token:
    """The next token of every row.

    Attributes:
        ids_B: what was drawn; of a row that has ended it says nothing.
        live_B: rows that had not ended before it.
        logits_BV: the law it was drawn from, after temperature, top-k and top-p.
        state: the model's, which has not read ``ids_B``.
    """

    ids_B: Tensor
    live_B: Tensor
    logits_BV: Tensor
    state: Any


def next_tokens(
    next_logits: Callable[[Tensor, Any], tuple[Tensor, Any]],
    logits_BV: Tensor,
    state: Any,
    names: Sequence[Tensor | int],
    places: range,
    *,
    ends: Sequence[int] = (),
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> Iterator[Token]:
    """Token after token until every row has ended or the places are used up; a row draws the same in any batch.

    Args:
        next_logits: reads one token a row, ids [B], in a state; the logits [B, V] of the next, and the state behind it.
        logits_BV, state: what it says of the first place, and its state there.
        names: of each row in the noise, tensors [B] or integers; the place follows them.
        places: names of the places written, one forward each; the first has been asked for already.
        ends: ids that end a row, themselves written.
        temperature: 0 takes the most probable id.
        top_k, top_p: see :func:`unmask.core.sampling.restrict`; only with a temperature.
        seed: of the draws.

    Raises:
        UsageError: a temperature, ``top_k`` or ``top_p`` out of range.
        UnmaskError: logits that hold nothing to draw.
    """
    end_E = torch.tensor(list(ends), dtype=torch.long, device=logits_BV.device)
    live_B = torch.ones(len(logits_BV), dtype=torch.bool, device=logits_BV.device)
    for place in places:
        if temperature == 0:
            ids_B = logits_BV.argmax(-1)
        else:
            logits_BV = restrict(logits_BV, temperature=temperature, top_k=top_k, top_p=top_p)
            ids_B = categorical(logits_BV, uniform(seed, *names, place, Stream.VALUE).to(logits_BV.device))
        yield Token(ids_B, live_B, logits_BV, state)
        live_B = live_B & ~torch.isin(ids_B, end_E)
        if place == places[-1] or (ends and not bool(live_B.any())):
            return
        logits_BV, state = next_logits(ids_B, state)


def penalised(logits_BV: Tensor, ids_BL: Tensor, penalty: float, real_BL: Tensor | None = None) -> Tensor:
    """Logits in which ids that a row holds already are less likely: divided by the penalty, or times it below 0.

    Args:
        logits_BV: of the next token.
        ids_BL: what the rows hold.
        penalty: 1 changes nothing.
        real_BL: 0 where ``ids_BL`` is padding; None: nowhere.
    """
    if penalty == 1.0:
        return logits_BV
    there_BL = torch.ones_like(ids_BL) if real_BL is None else real_BL
    shown_BV = torch.zeros_like(logits_BV).scatter_add_(1, ids_BL, there_BL.to(logits_BV.dtype)) > 0
    return torch.where(shown_BV, torch.where(logits_BV < 0, logits_BV * penalty, logits_BV / penalty), logits_BV)
