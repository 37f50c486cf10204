"""What a linear reading of semantic vectors says of each token: nats, to be held against a model's.

Ridge regression (:func:`unmask.diagnosis.word_probe.ridge`) from vectors to the share of each id among a text's tokens,
mixed with plain counts; the weight of the counts is chosen on a fifth of the rows that is left out.

Shapes: N rows or tokens, B texts, L length, Z latent, V vocabulary (docs/notation.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.native import TRAIN_VECTORS
from unmask.diagnosis.subject import NotProvided
from unmask.diagnosis.word_probe import ridge

#: weights of the counts that are tried, and fewest rows that a probe is made from
WEIGHTS, FEWEST = (0.1, 0.25, 0.5), 100


def probed_ce(context: CheckContext, latent_BZ: Tensor, row_N: Tensor, target_N: Tensor) -> Tensor | None:
    """Nats [N] of ids under a linear reading of their rows' vectors; None without enough training vectors."""
    try:
        rows = context.subject.data(TRAIN_VECTORS, "train")
    except NotProvided:
        return None
    if rows.cond is None or len(rows) < FEWEST:
        return None
    z_NZ, ids_NL = rows.cond.latent_BZ.double().cpu(), rows.ids_BL.cpu()
    inside_NL = context.in_text(ids_NL)
    rest_V = context.counts.unigram_V.exp()
    count_NV = torch.zeros(len(ids_NL), context.subject.vocab_size, dtype=torch.float64)
    count_NV.scatter_add_(1, ids_NL, inside_NL.double())
    extra_NV = count_NV / count_NV.sum(1, keepdim=True).clamp(min=1) - rest_V
    part = len(z_NZ) * 4 // 5
    new_NZ = torch.cat([z_NZ[part:], latent_BZ.double().cpu()])
    read_NV = torch.from_numpy(ridge(z_NZ[:part].numpy(), extra_NV[:part].numpy(), new_NZ.numpy()))
    share_NV = (rest_V + read_NV).clamp(min=0)
    share_NV = share_NV / share_NV.sum(1, keepdim=True).clamp(min=1e-9)
    held_N, col_N = inside_NL[part:].nonzero(as_tuple=True)
    left_N = ids_NL[part:][held_N, col_N]

    def nats(share_BV: Tensor, at_N: Tensor, id_N: Tensor, weight: float) -> Tensor:
        return -((1 - weight) * share_BV[at_N, id_N] + weight * rest_V[id_N]).log()

    held = len(z_NZ) - part
    weight = min(WEIGHTS, key=lambda w: float(nats(share_NV[:held], held_N, left_N, w).mean()))
    return nats(share_NV[held:], row_N.cpu(), target_N.cpu(), weight)
