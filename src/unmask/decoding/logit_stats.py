"""Statistics of candidate rows, computed on demand and never more of the head than somebody asks for.

Shapes: N candidate rows, K rows that are drawn, V vocabulary (docs/notation.md).

All statistics come from ``e = exp(l - max l)`` with the best id's own 1 taken out (a softmax over its largest entry).
Its sum, ``rest``, keeps full relative precision however sure the model is: ``log p_max = -log1p(rest)`` and
``1 - margin = (rest + second) / (1 + rest)`` tell 1 - 1e-9 from 1 - 1e-20, where an fp32 softmax says 1.0 for both and
leaves the choice to the position (Dream#72).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unmask.core.errors import UnmaskError, UsageError
from unmask.core.sampling import NOTHING_TO_DRAW

#: logits held at once; beyond this the head runs in pieces and pieces are thrown away
CHUNK_ELEMENTS = 2**26

#: logits whose statistics are taken at once on a CPU: 1 MiB of fp32, a core's own cache
CACHE_ELEMENTS = 2**18

#: neighbours whose largest logit is found at once
PIECE = 256

STATISTICS = ("best", "rest", "second", "entropy")


class LogitStats:
    """Statistics of N rows of logits.

    Args:
        read: logits [K, V] of the rows with these indices (or all, given None).
        count: N.
        vocab_size: V.
        needs: statistics to compute together at the first question (see :data:`STATISTICS`).
    """

    def __init__(self, read: Callable[[Tensor | None], Tensor], count: int, vocab_size: int, needs: set[str]) -> None:
        unknown = needs - set(STATISTICS)
        if unknown:
            raise UsageError(f"no row statistic is called {sorted(unknown)[0]!r}; known: {', '.join(STATISTICS)}")
        self._read, self._count, self._needs = read, count, needs
        self._chunk = max(1, CHUNK_ELEMENTS // max(vocab_size, 1))
        self._kept: Tensor | None = None
        self._found: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return self._count

    def logits(self, index_K: Tensor | None = None) -> Tensor:
        """Logits [K, V] of some rows (all when None): kept ones where they fit, else the head once more."""
        if self._kept is None and self._count <= self._chunk:
            self._kept = self._read(None)
        if self._kept is not None:
            return self._kept if index_K is None else self._kept[index_K]
        return self._read(index_K)

    @property
    def best_id_N(self) -> Tensor:
        """The most probable id."""
        return self._get("best_id")

    @property
    def best_N(self) -> Tensor:
        """The largest logit, fp64."""
        return self._get("best")

    @property
    def log_best_N(self) -> Tensor:
        """log p of the most probable id in nats, fp64."""
        return -torch.log1p(self._get("rest"))

    @property
    def top_prob_N(self) -> Tensor:
        """p of the most probable id, fp64."""
        return 1 / (1 + self._get("rest"))

    @property
    def log_norm_N(self) -> Tensor:
        """Log-sum-exp of the logits, fp64."""
        return self._get("best") + torch.log1p(self._get("rest"))

    @property
    def shortfall_N(self) -> Tensor:
        """1 - (p_(1) - p_(2)), fp64, exact where the margin itself would round to 1."""
        rest_N = self._get("rest")
        return (rest_N + self._get("second")) / (1 + rest_N)

    @property
    def second_N(self) -> Tensor:
        """p of the second best id over p of the best, fp64."""
        return self._get("second")

    @property
    def entropy_N(self) -> Tensor:
        """Entropy in nats, fp64."""
        rest_N = self._get("rest")
        return torch.log1p(rest_N) + self._get("entropy") / (1 + rest_N)

    def _get(self, name: str) -> Tensor:
        if name not in self._found:
            wanted = self._needs | ({name} if name != "best_id" else {"best"})
            if self._count <= self._chunk:
                self._found.update(_measure(self.logits(), wanted))
            else:
                index_N = torch.arange(self._count)
                parts = [_measure(self._read(piece), wanted) for piece in index_N.split(self._chunk)]
                self._found.update({k: torch.cat([p[k] for p in parts]) for k in parts[0]})
        return self._found[name]


def _measure(logits_NV: Tensor, wanted: set[str]) -> dict[str, Tensor]:
    best_N, best_id_N = _best(logits_NV)
    found = {"best_id": best_id_N, "best": best_N.double()}
    if not torch.isfinite(best_N).all():
        raise UnmaskError(NOTHING_TO_DRAW)
    if wanted == {"best"}:
        return found
    # a piece at a time: what stays in the processor's cache costs no memory traffic and no fresh pages
    rows = max(1, CACHE_ELEMENTS // logits_NV.shape[1]) if logits_NV.device.type == "cpu" else len(logits_NV)
    parts = [_beside_best(*piece, wanted) for piece in zip(logits_NV.split(rows), best_id_N.split(rows), strict=True)]
    return found | {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _beside_best(logits_NV: Tensor, best_id_N: Tensor, wanted: set[str]) -> dict[str, Tensor]:
    # one fused pass; what it divides by cancels below
    p_NV = logits_NV.softmax(-1)
    best_id_N1 = best_id_N[:, None]
    top_N1 = p_NV.gather(1, best_id_N1)
    p_NV.scatter_(1, best_id_N1, 0.0)
    top_N = top_N1[:, 0].double()
    found = {"rest": p_NV.sum(-1).double() / top_N}
    if "second" in wanted:
        found["second"] = p_NV.amax(-1).double() / top_N
    if "entropy" in wanted:
        # -e log e = e (max - l), and 0 where e is 0
        found["entropy"] = torch.special.entr(p_NV.div_(top_N1)).sum(-1).double()
    return found


def _best(logits_NV: Tensor) -> tuple[Tensor, Tensor]:
    """The largest logit of each row and where it stands first.

    ``max(-1)`` goes through a row number by number to know where; the largest of each piece is found many at a time.
    """
    N, V = logits_NV.shape
    whole = V - V % PIECE
    if whole == 0 or logits_NV.device.type != "cpu":
        top = logits_NV.max(-1)
        return top.values, top.indices
    pieces_NPS = logits_NV[:, :whole].unflatten(1, (-1, PIECE))
    top = pieces_NPS.amax(-1).max(-1)
    inside_N = pieces_NPS[torch.arange(N), top.indices].argmax(-1)
    best_N, best_id_N = top.values, top.indices * PIECE + inside_N
    if whole < V:
        last = logits_NV[:, whole:].max(-1)
        later_N = last.values > best_N
        best_N, best_id_N = torch.maximum(best_N, last.values), torch.where(later_N, last.indices + whole, best_id_N)
    return best_N, best_id_N
