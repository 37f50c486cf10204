"""Several edits in one: those whose measured changes of the vector add up to what is missing.

Each edit of a hypothesis that was verified says by how much it moves the vector. Where two edits do not touch, their
changes nearly add, so which of many combinations will score best is known before any is tried (matching pursuit).
"""

from __future__ import annotations

import torch
from torch import Tensor

from unmask.search.hypothesis import Edit, Hypothesis

#: edits in one combination at most; starts and partners that are looked at
_DEPTH, _STARTS, _PARTNERS = 4, 12, 96


def combinations(parent: Hypothesis, z_Z: Tensor, count: int) -> list[tuple[Edit, ...]]:
    """Sets of tried edits of a hypothesis that do not clash, those first whose sum should come nearest to the target.

    Args:
        parent: with what was tried on it.
        z_Z: the target.
        count: sets at most.
    """
    tried = [(e, h) for e, h in parent.tried if h.vector_Z is not None]
    tried = sorted(tried, key=lambda pair: -pair[1].score)[:_PARTNERS]
    if len(tried) < 2 or parent.vector_Z is None:
        return []
    edits = [e for e, _ in tried]
    change_MZ = torch.stack([h.vector_Z for _, h in tried]) - parent.vector_Z  # type: ignore[misc]
    clash = torch.tensor([[a.clashes(b) for b in edits] for a in edits])
    beam: list[tuple[tuple[int, ...], Tensor, Tensor]] = [
        ((i,), parent.vector_Z + change_MZ[i], clash[i]) for i in range(min(_STARTS, len(edits)))
    ]
    found: dict[frozenset[int], float] = {}
    for _ in range(_DEPTH - 1):
        at_SZ = torch.stack([v for _, v, _ in beam])
        sums = at_SZ[:, None] + change_MZ[None]
        score = (sums @ z_Z) / sums.norm(dim=-1)
        score[torch.stack([taken for *_, taken in beam])] = -1.0
        values, at = score.flatten().topk(min(4 * _STARTS, score.numel()))
        grown = {}
        for value, where in zip(values.tolist(), at.tolist(), strict=True):
            if value <= 0:
                break
            s, m = divmod(where, len(edits))
            chosen = frozenset((*beam[s][0], m))
            if chosen not in found:
                found[chosen] = value
                grown[chosen] = (tuple(chosen), sums[s, m], beam[s][2] | clash[m])
        beam = list(grown.values())[:_STARTS]
        if not beam:
            break
    best = sorted(found.items(), key=lambda item: -item[1])[:count]
    return [tuple(edits[m] for m in sorted(chosen)) for chosen, _ in best]
