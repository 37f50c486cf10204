"""The bound of held-out text through ``predict``, text by text; measured once.

Shapes: B texts, L length (docs/notation.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.core.random import Stream, generator
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.statistics import Mean, mean_by_text
from unmask.diagnosis.subject import State
from unmask.diffusion.process import MaskingProcess


def nats_of_texts(context: CheckContext) -> tuple[Tensor, Tensor]:
    """Nats [B] of each held-out text and its tokens [B] that are priced.

    Masked: n ~ U{1..L} positions masked, spread evenly over the rows. Causal: every token but the first.
    """
    return context.once(
        "nats of texts", lambda: _causal(context) if context.subject.kind == "causal" else _masked(context)
    )  # type: ignore[no-any-return]


def mean_bound(context: CheckContext) -> Mean:
    """The bound in nats a text token."""
    nats_B, tokens_B = nats_of_texts(context)
    return per_token(nats_B, tokens_B)


def per_token(nats_B: Tensor, tokens_B: Tensor) -> Mean:
    """Nats a token, from nats [B] and tokens [B] of texts, with texts as the unit."""
    row_N = torch.arange(len(tokens_B)).repeat_interleave(tokens_B.long())
    return mean_by_text((nats_B / tokens_B.clamp(min=1))[row_N], row_N)


def _masked(context: CheckContext) -> tuple[Tensor, Tensor]:
    batch = context.batch
    values = []
    for repeat in range(context.budget.repeats):
        noise = generator(context.seed, repeat, Stream.TIME)
        c = MaskingProcess("count").corrupt(batch.ids_BL, context.mask_id, noise, context.exists(batch.ids_BL))
        scores = context.score(State(c.x_BL, c.masked_BL, batch.cond), batch.ids_BL)
        weighted_N = scores.ce_N * c.weight_B.double().cpu()[scores.row_N.cpu()]
        values.append(_by_row(weighted_N, scores.row_N, len(batch)))
    return torch.stack(values).mean(0), context.in_text(batch.ids_BL).sum(1).double().cpu()


def _causal(context: CheckContext) -> tuple[Tensor, Tensor]:
    scores = context.next_token()
    return (
        _by_row(scores.ce_N, scores.row_N, len(context.batch)),
        _by_row(torch.ones_like(scores.ce_N), scores.row_N, len(context.batch)),
    )


def _by_row(value_N: Tensor, row_N: Tensor, rows: int) -> Tensor:
    return torch.zeros(rows, dtype=torch.float64).index_add(0, row_N.cpu(), value_N.double().cpu())
