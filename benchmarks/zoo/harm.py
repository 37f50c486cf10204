"""How much a fault harms, measured apart from the diagnosis: under the healthy model, in nats a token.

Shapes: B rows, L columns, N scored positions (docs/notation.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.random import Stream, uniform
from unmask.diagnosis.baselines import in_text
from unmask.diagnosis.statistics import Mean, mean_by_text
from unmask.diagnosis.subject import Batch, State, Subject

#: masked fractions whose cross-entropies stand for the bound
RATIOS = (0.15, 0.4, 0.65, 0.9, 1.0)


@dataclass(frozen=True)
class Harm:
    """What a fault changes, nats a token with standard errors.

    Attributes:
        written: how much less (or more) likely what is written is under the healthy model, than what that writes.
        known: how much worse the network itself predicts held-out text.
        reported: how far the number that is watched moves.
    """

    written: Mean
    known: Mean
    reported: float

    @property
    def nats(self) -> float:
        """The largest of the three; one that is not surely above nothing counts as 0."""
        sure = [abs(m.value) if abs(m.value) > m.room else 0.0 for m in (self.written, self.known)]
        return max(*sure, abs(self.reported))

    @property
    def harms(self) -> bool:
        """A twentieth of a nat a token, beyond chance."""
        return self.nats > 0.05


def price(judge: Subject, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropies [N] of the texts of a batch under a subject's ``predict``, and the row [N] of each."""
    inside_BL = in_text(batch.ids_BL, judge.eos_id, judge.pad_id)
    if batch.valid_BL is not None:
        inside_BL &= batch.valid_BL
    B, L = batch.ids_BL.shape
    ce, rows = [], []
    for ratio in RATIOS if judge.kind == "masked" else (0.0,):
        x_BL, at_BL = batch.ids_BL, inside_BL.clone()
        if judge.kind == "causal":
            at_BL[:, 0] = False
        else:
            assert judge.mask_id is not None
            row, column = torch.arange(B)[:, None], torch.arange(L)
            noise_BL = uniform(7, row, column, Stream.CORRUPT, round(ratio * 100)).to(x_BL.device)
            hidden_BL = noise_BL.masked_fill(~inside_BL, 2.0).argsort(1).argsort(1) < (
                inside_BL.sum(1, keepdim=True) * ratio
            ).round().clamp(min=1)
            x_BL, at_BL = x_BL.masked_fill(hidden_BL, judge.mask_id), hidden_BL & inside_BL
        for first in range(0, B, 16):
            part = slice(first, first + 16)
            if not bool(at_BL[part].any()):
                continue
            cond = None if batch.cond is None else batch.cond[part]
            valid_BL = None if batch.valid_BL is None else batch.valid_BL[part]
            with torch.no_grad():
                logits_NV = judge.predict(State(x_BL[part], at_BL[part], cond, valid_BL=valid_BL))
            target_N = batch.ids_BL[part][at_BL[part]]
            logp_NV = logits_NV.float().log_softmax(-1).clamp(min=-30)
            ce.append(-logp_NV.gather(-1, target_N[:, None])[:, 0].double().cpu())
            rows.append(at_BL[part].nonzero()[:, 0].cpu() + first)
    return torch.cat(ce), torch.cat(rows)


def written_by(subject: Subject, batch: Batch, seed: int) -> Batch:
    """What a subject writes for the conditions of a batch; ids outside of its own vocabulary cannot be priced."""
    out = subject.generate(batch, seed)
    ids_BL = out.ids_BL
    if subject.mask_id is not None:  # a mask that was left is priced as the least likely thing there is
        ids_BL = ids_BL.masked_fill(ids_BL == subject.mask_id, 0)
    valid_BL = batch.valid_BL
    if not subject.writes_padding and valid_BL is not None:
        # the lengths are the model's own, and so is what exists
        valid_BL = ids_BL != subject.pad_id
    return Batch(ids_BL.clamp(0, subject.vocab_size - 1), batch.cond, valid_BL=valid_BL)


@torch.no_grad()
def harm(healthy: Subject, faulty: Subject, rows: int = 48) -> Harm:
    """What the fault changes; both subjects write for the same rows under the same seed."""
    batch = healthy.data(rows)
    own, other = written_by(healthy, batch, 5), written_by(faulty, faulty.data(rows), 5)
    known = mean_by_text(*price(healthy, batch))
    theirs = mean_by_text(*price(faulty, faulty.data(rows)))
    one, two = mean_by_text(*price(healthy, own)), mean_by_text(*price(healthy, other))
    losses = [subject.training_view(subject.data(rows), 3).loss for subject in (healthy, faulty)]
    return Harm(_apart(two, one), _apart(theirs, known), losses[1] - losses[0])


def _apart(one: Mean, other: Mean) -> Mean:
    return Mean(one.value - other.value, (one.error**2 + other.error**2) ** 0.5, min(one.texts, other.texts))
