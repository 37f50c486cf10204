"""A plain sampler with places to go wrong: what faults of a sampler are planted into."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.random import Stream, uniform
from unmask.core.sampling import categorical
from unmask.diagnosis.subject import Batch, Generated, State, Step, Subject

#: logits [N, V] for the canvas, the canvas one step before, where, and the rows' vectors
LogitsFunction = Callable[[Tensor, Tensor, Tensor, Condition | None], Tensor]


def written(
    subject: Subject,
    batch: Batch,
    seed: int,
    *,
    counts: Sequence[int] | None = None,
    answer: LogitsFunction | None = None,
    temperature: float = 1.0,
    guidance: float = 1.0,
    alike: bool = False,
) -> Generated:
    """Texts in random order, drawn from ``answer`` (from ``predict`` when None), told as if from ``predict``.

    Args:
        subject: a masked subject.
        batch, seed: see ``Subject.generate``.
        counts: tokens of each step; one at a time when None.
        answer: what is drawn from.
        temperature, guidance: what is told; the draw itself is at temperature 1, of what ``answer`` gives.
        alike: all rows draw the first row's noise.
    """
    assert subject.mask_id is not None
    x_BL = torch.full_like(batch.ids_BL, subject.mask_id)
    B, L = x_BL.shape
    name_B = torch.zeros(B, dtype=torch.long) if alike else torch.arange(B)
    noise_BL = uniform(seed, name_B[:, None], torch.arange(L), Stream.ORDER)
    rank_BL = noise_BL.argsort(1).argsort(1).to(x_BL.device)
    steps, first, before_BL = [], 0, x_BL
    for count in [1] * L if counts is None else counts:
        at_BL = (rank_BL >= first) & (rank_BL < first + count)
        first += count
        if not bool(at_BL.any()):
            continue
        row_N, col_N = at_BL.nonzero(as_tuple=True)
        if answer is None:
            logits_NV = subject.predict(State(x_BL, at_BL, batch.cond))
        else:
            logits_NV = answer(x_BL, before_BL, at_BL, batch.cond)
        steps.append(Step(x_BL, at_BL))
        before_BL, x_BL = x_BL, x_BL.clone()
        x_BL[at_BL] = categorical(
            logits_NV, uniform(seed, name_B[row_N.cpu()], col_N.cpu(), Stream.VALUE).to(x_BL.device)
        )
    return Generated(x_BL, tuple(steps), temperature, guidance, any_order=True, remasks=False)
