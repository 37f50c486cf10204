"""What a causal model says of given texts: exact log-probabilities of continuations.

Shapes: B rows, L length, V ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.core.model import ContinuationScore
from unmask.models.causal import CausalModel
from unmask.models.causal_prompts import pad_id, positions, prompt_ids


@dataclass(frozen=True)
class _Window:
    """Ids of a text, the last ``scored`` of which are predicted."""

    text: int
    ids: Tensor
    scored: int


@torch.inference_mode()
def scored(
    model: CausalModel, contexts: Sequence[str], continuations: Sequence[str], batch_size: int
) -> list[ContinuationScore]:
    """See :meth:`unmask.core.model.Model.log_likelihood`."""
    windows = [w for i, pair in enumerate(zip(contexts, continuations, strict=True)) for w in _windows(model, i, *pair)]
    nats, greedy = [0.0] * len(contexts), [True] * len(contexts)
    for first in range(0, len(windows), batch_size):
        part = windows[first : first + batch_size]
        # padding stands behind a row, where nothing that is scored sees it
        ids_BL = torch.nn.utils.rnn.pad_sequence([w.ids for w in part], batch_first=True, padding_value=pad_id(model))
        ids_BL = ids_BL.to(model.device)
        logits_BLV = model.model(input_ids=ids_BL[:, :-1], use_cache=False).logits
        for row, window in enumerate(part):
            at = slice(len(window.ids) - 1 - window.scored, len(window.ids) - 1)
            logp_NV = logits_BLV[row, at].double().log_softmax(-1)
            target_N = ids_BL[row, 1:][at]
            nats[window.text] += float(logp_NV.gather(-1, target_N[:, None]).sum())
            greedy[window.text] &= bool((logp_NV.argmax(-1) == target_N).all())
    return [ContinuationScore(*found, bound=False) for found in zip(nats, greedy, strict=True)]


def _windows(model: CausalModel, text: int, context: str, continuation: str) -> list[_Window]:
    """The context and the continuation, in pieces of as many positions as the model has.

    They are split as the joined text is; blanks at the end of a context belong to what follows.
    """
    whole = model.encode(context + continuation)
    split = min(len(model.encode(context.rstrip())), len(whole) - 1)
    if not continuation or split < 0:
        raise UsageError(f"the continuation {continuation!r} has no token")
    if split == 0:  # nothing stands before the first token: the model's start of text does
        start = prompt_ids(model, "")[:1]
        whole, split = torch.cat([start, whole]), 1
    room = positions(model) or len(whole)
    found = []
    for first in range(split, len(whole), room):
        end = min(first + room, len(whole))
        # the last id is predicted and not read
        found.append(_Window(text, whole[max(0, end - 1 - room) : end], end - first))
    return found
