"""What kind of damage a model took since its record: to its positions, to its attention, or to how it reads ids.

Shapes: B rows, L columns, S states (docs/notation.md).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unmask.diagnosis.record import RecordedSplit, scores
from unmask.diagnosis.statistics import plain_mean
from unmask.diagnosis.subject import State, Subject

#: share of what near ids change that far ones change at most where attention is called cut short. What is left may
#: come through a token that all see; undamaged models of the tests give 2 % and more
NEAR = 0.01
#: columns that a canvas is tried to be moved by
MOVES = (1, -1, 2, -2)
#: share of the damage that must go, and surely some of it, for positions to be named
MOST = 0.5


def kind_of(subject: Subject, rows: RecordedSplit, now_SB: Tensor, rounding: float) -> tuple[str, str, int]:
    """The repair of a model whose recorded rows score worse now, a sentence on why, and how many places it is off.

    ``weights.loaded`` where no kind that is known explains it.

    Args:
        subject: the model as it is now.
        rows: of its record.
        now_SB: what they score now.
        rounding: share of a loss that rounding may move.
    """
    damage_S = (now_SB - rows.ce_SB).nanmean(1)
    damage = float(damage_S.mean())
    off = places_off(subject, rows, damage)
    if off:
        words = f"Positions reach the network {abs(off)} place{'s' * (abs(off) > 1)} too far to the "
        words += f"{'right' if off > 0 else 'left'}: moved back on its canvas, text scores as it was recorded."
        return "network.positions", words, off
    if _sees_no_further(subject, rows, rounding):
        words = "Attention reaches near places only: ids a quarter of the canvas away change no answer."
        return "network.attention", words, 0
    whole_S = (rows.hidden_SBL | ~rows.asked_SBL.any(1)[:, None]).all(2).all(1) if subject.kind == "masked" else None
    if whole_S is not None and bool(whole_S.any()) and not bool(whole_S.all()):
        apart = (now_SB - rows.ce_SB)[whole_S].abs().nanmean()
        if float(apart) <= rounding * float(rows.ce_SB[whole_S].nanmean()) and damage > 0:
            words = (
                "Ids are not read as in training: with everything masked it answers as it was recorded, and with ids "
            )
            words += "in sight it does not, so that the table of ids is another one, and nothing behind it is."
            return "tokenizer", words, 0
    return "weights.loaded", "", 0


@torch.no_grad()
def _sees_no_further(subject: Subject, rows: RecordedSplit, rounding: float) -> bool:
    """Whether other ids a quarter of the canvas away and further change next to nothing of an answer."""
    if subject.kind != "masked" or subject.mask_id is None or rows.batch.ids_BL.shape[1] < 12:
        return False
    ids_BL = rows.batch.ids_BL[:16]
    L = ids_BL.shape[1]
    asked = L // 2
    far_L = (torch.arange(L) - asked).abs() > L // 4
    at_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
    at_BL[:, asked] = True
    cond = None if rows.batch.cond is None else rows.batch.cond[:16]
    valid_BL = None if rows.batch.valid_BL is None else rows.batch.valid_BL[:16]

    def answers(changed_L: Tensor) -> Tensor:
        # ids of the row beside it: text at other places, and no id that the data does not hold
        x_BL = torch.where(changed_L, ids_BL.roll(1, 0), ids_BL).masked_fill(at_BL, subject.mask_id)
        return subject.predict(State(x_BL, at_BL, cond, valid_BL=valid_BL)).float().softmax(-1)

    own = answers(torch.zeros(L, dtype=torch.bool))
    far, near = (0.5 * (answers(changed) - own).abs().sum(-1).mean() for changed in (far_L, ~far_L))
    return float(near) > 100 * rounding and float(far) <= max(rounding, NEAR * float(near))


def places_off(subject: Subject, rows: RecordedSplit, damage: float) -> int:
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


def _gain(subject: Subject, rows: RecordedSplit, by: int) -> float:
    """Nats a token by which rows are known better when moved, of the tokens that stay on it; 0 unless surely."""

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
    gain = plain_mean(gap_B[torch.isfinite(gap_B)])
    return gain.value if gain.surely_above > 0 else 0.0
