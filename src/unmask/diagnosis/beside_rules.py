"""What is written where rules say what is right: rows that keep them, and places that are the answer's."""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.diagnosis.finding import Status
from unmask.diagnosis.measure import Measure, above, below
from unmask.diagnosis.statistics import Mean, difference, plain_mean
from unmask.diagnosis.written_texts import WrittenTexts

#: what of the rows may break a rule without a warning
BROKEN = 0.05


def beside_rules(texts: WrittenTexts) -> list[Measure]:
    """Rows that keep the rules, beside the data's and other rows put in their place; and places that are right."""
    context = texts.context
    batch, wrote_BL = context.prompts, context.samples().ids_BL
    # what is worth nothing: the places of the row beside it
    other_BL = batch.ids_BL.roll(1, 0)

    def kept(ids_BL: Tensor) -> Mean:
        return plain_mean(context.subject.obeys(batch, ids_BL).double().cpu())

    mine, data, stick = kept(wrote_BL), kept(batch.ids_BL), kept(other_BL)
    gap = difference(mine, stick)
    bad = above(gap) <= 0
    status: Status = "fail" if bad else "warn" if below(mine) < data.value - BROKEN else "pass"
    words = f"{mine.value:.0%} of its rows keep the rules ({data.value:.0%} of the data's, {stick.value:.0%} with the "
    words += "cells of another row)"
    of = "the cells of another row"
    found = [Measure("rows that keep the rules", mine, data, gap, stick, of, "higher", status, words)]
    if texts.asked:
        found.append(Measure("places that are the answer's", _same(wrote_BL, batch.ids_BL), better="higher"))
    return found


def _same(one_BL: Tensor, other_BL: Tensor) -> Mean:
    return plain_mean((one_BL == other_BL).double().mean(1).cpu() if one_BL.shape == other_BL.shape else torch.zeros(2))
