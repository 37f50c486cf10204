"""What kind of damage a model took since its record: do its answers come right where its text is moved on the canvas?

Shapes: B rows, L columns, S states (docs/notation.md).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unmask.diagnosis.record import Recorded, scores
from unmask.diagnosis.statistics import plain_mean
from unmask.diagnosis.subject import Subject

#: columns that a canvas is tried to be moved by
MOVES = (1, -1, 2, -2)
#: share of the damage that must surely go for positions to be named
MOST = 0.5


def places_off(subject: Subject, rows: Recorded, damage: float) -> int:
    """How many places off positions reach the network; 0 where moving the text does not bring back what was lost.

    The recorded rows are asked about some columns to the left or right, beside the same tokens where they stand.

    Args:
        subject: the model as it is now.
        rows: of its record.
        damage: nats a token by which they score worse now.
    """
    if subject.mask_id is None or subject.kind != "masked" or damage <= 0:
        return 0
    back = {by: _gain(subject, rows, by) / damage for by in MOVES}
    best = max(back, key=lambda by: back[by])
    # a network that takes column j for column j + 1 is right about text that was moved one column to the left
    return -best if back[best] >= MOST else 0


def _gain(subject: Subject, rows: Recorded, by: int) -> float:
    """Nats a token by which rows are surely known better when they are moved, of the tokens that stay on the canvas."""

    def moved(x: Tensor, fill: int | bool) -> Tensor:
        rolled = x.roll(by, -1)
        rolled[..., slice(0, by) if by > 0 else slice(by, None)] = fill
        return rolled

    kept_SBL = rows.asked_SBL.clone()
    kept_SBL[..., slice(-by, None) if by > 0 else slice(0, -by)] = False
    pad = 0 if subject.pad_id is None else subject.pad_id
    valid_BL = rows.batch.valid_BL
    there = replace(
        rows,
        batch=replace(
            rows.batch,
            ids_BL=moved(rows.batch.ids_BL, pad),
            valid_BL=None if valid_BL is None else moved(valid_BL, False),
        ),
        hidden_SBL=moved(rows.hidden_SBL, True),
        asked_SBL=moved(kept_SBL, False),
    )
    here = replace(rows, asked_SBL=kept_SBL)
    gap_SB = scores(subject, here) - scores(subject, there)
    # rows are the unit, whatever the states they are asked in
    gap_B = gap_SB.nanmean(0)
    return plain_mean(gap_B[torch.isfinite(gap_B)]).surely_above
