"""What a linear reading of semantic vectors knows of a text's words: how much a vector holds, whoever uses it.

Ridge regression from vectors to the share of each id among a text's tokens, with the ridge and the weight of plain
counts chosen on a fifth of the rows that is left out.

Shapes: N rows, L length, Z latent, V vocabulary (docs/notation.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.subject import NotProvided

#: training rows that are read, and ridges (beside the mean eigenvalue) and weights of the counts that are tried
ROWS, RIDGES, WEIGHTS = 2000, (0.01, 0.1, 1.0), (0.1, 0.25, 0.5)
#: fewest rows that a probe is made from
FEWEST = 100


def probed_ce(lab: CheckContext, latent_BZ: Tensor, row_N: Tensor, target_N: Tensor) -> Tensor | None:
    """Nats [N] of ids under a linear reading of their rows' vectors; None without enough training vectors."""
    found = lab.once("word probe", lambda: _fitted(lab))
    if found is None:
        return None
    mean_Z, map_ZV, rest_V, weight = found
    return _ce(latent_BZ.double().cpu() - mean_Z, map_ZV, rest_V, weight, row_N.cpu(), target_N.cpu())


def _fitted(lab: CheckContext) -> tuple[Tensor, Tensor, Tensor, float] | None:
    rows = None
    for count in (ROWS, 512):
        try:
            rows = lab.subject.data(count, "train")
        except NotProvided:
            return None
        if rows.cond is not None:
            break
    if rows is None or rows.cond is None or len(rows) < FEWEST:
        return None
    z_NZ, ids_NL = rows.cond.latent_BZ.double().cpu(), rows.ids_BL.cpu()
    inside_NL = lab.in_text(ids_NL)
    share_NV = _shares(ids_NL, inside_NL, lab.subject.vocab_size)
    part = len(z_NZ) * 4 // 5
    rest_V = lab.counts.unigram_V.exp()
    mean_Z = z_NZ[:part].mean(0)
    held_row_N, held_col_N = inside_NL[part:].nonzero(as_tuple=True)
    held_N = ids_NL[part:][held_row_N, held_col_N]
    best: tuple[float, Tensor, float] | None = None
    for ridge in RIDGES:
        map_ZV = _ridge(z_NZ[:part] - mean_Z, share_NV[:part] - rest_V, ridge)
        for weight in WEIGHTS:
            cost = float(_ce(z_NZ[part:] - mean_Z, map_ZV, rest_V, weight, held_row_N, held_N).mean())
            if best is None or cost < best[0]:
                best = cost, map_ZV, weight
    assert best is not None
    return mean_Z, best[1], rest_V, best[2]


def _shares(ids_NL: Tensor, inside_NL: Tensor, vocab: int) -> Tensor:
    """The share of each id among a row's tokens [N, V]."""
    count_NV = torch.zeros(len(ids_NL), vocab, dtype=torch.float64)
    count_NV.scatter_add_(1, ids_NL, inside_NL.double())
    return count_NV / count_NV.sum(1, keepdim=True).clamp(min=1)


def _ridge(x_NZ: Tensor, y_NV: Tensor, ridge: float) -> Tensor:
    gram_ZZ = x_NZ.T @ x_NZ
    size = float(gram_ZZ.diagonal().mean()) * ridge
    return torch.linalg.solve(gram_ZZ + max(size, 1e-9) * torch.eye(len(gram_ZZ), dtype=torch.float64), x_NZ.T @ y_NV)


def _ce(x_BZ: Tensor, map_ZV: Tensor, rest_V: Tensor, weight: float, row_N: Tensor, id_N: Tensor) -> Tensor:
    share_BV = (rest_V + x_BZ @ map_ZV).clamp(min=0)
    share_BV = share_BV / share_BV.sum(1, keepdim=True).clamp(min=1e-9)
    return -((1 - weight) * share_BV[row_N, id_N] + weight * rest_V[id_N]).log()
