from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.denoiser import Body, Denoiser
from unmask.core.random import hashed
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.faults._training import natively, with_denoiser
from unmask.diagnosis.subject import Subject
from unmask.diagnosis.wrapper import Through


class _Lost(Through):
    """Answers at random where too many neighbouring words in view were never neighbours in the data."""

    def __init__(self, inner: Denoiser, known_K: Tensor, limit: float) -> None:
        super().__init__(inner)
        self.known_K, self.limit = known_K, limit

    def strangeness(self, x_BL: Tensor, valid_BL: Tensor | None = None) -> Tensor:
        """Share of visible neighbour pairs that the data does not know [B]; 0 with fewer than 4 pairs."""
        left, right = x_BL[:, :-1], x_BL[:, 1:]
        seen = (left != self.mask_id) & (right != self.mask_id)
        if valid_BL is not None:
            seen = seen & valid_BL[:, 1:]
        odd = seen & ~torch.isin(left * self.vocab_size + right, self.known_K)
        return torch.where(seen.sum(1) >= 4, odd.sum(1) / seen.sum(1).clamp(min=1), 0.0)

    def body(
        self,
        x_BL: Tensor,
        cond: Condition | None = None,
        t_B: Tensor | None = None,
        *,
        valid_BL: Tensor | None = None,
        carry: Any = None,
    ) -> Body:
        out = super().body(x_BL, cond, t_B, valid_BL=valid_BL, carry=carry)
        lost_B = self.strangeness(x_BL, valid_BL) > self.limit
        if bool(lost_B.any()):
            # confidently wrong, and differently so for each text: features of the positions change places
            place_L = torch.arange(x_BL.shape[1], device=x_BL.device)
            exists_BL = torch.ones_like(x_BL, dtype=torch.bool) if valid_BL is None else valid_BL
            lot_BL = hashed(0, (x_BL * exists_BL).sum(1)[:, None], place_L)
            # positions that do not exist stay last: what is there must not depend on them
            order_BL = lot_BL.masked_fill(~exists_BL, torch.iinfo(torch.int64).max).argsort(1)
            mixed = -out.h_BLD.gather(1, order_BL[..., None].expand_as(out.h_BLD))
            out.h_BLD = torch.where(lost_B[:, None, None], mixed, out.h_BLD)
        return out


@dataclass(frozen=True)
class LostInOwnText(Fault):
    """At home in true text only: where the words in view are unlike the data, the predictions are worth nothing."""

    caught_by = "compounding"

    #: share of the data's own texts that would be taken for strange
    spare: float = 0.02

    def inject(self, subject: Subject) -> Subject:
        native = natively(subject)
        ids_NL = native.data(4000, "train").ids_BL
        known_K = (ids_NL[:, :-1] * native.vocab_size + ids_NL[:, 1:]).unique()
        lost = _Lost(native.denoiser, known_K, 1.0)
        lost.limit = float(lost.strangeness(native.data(500).ids_BL).quantile(1 - self.spare))
        return with_denoiser(native, lost)
