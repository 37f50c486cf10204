"""The same words in another order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from unmask.search.hypothesis import Edit
from unmask.search.proposal import Proposal
from unmask.search.site import Site
from unmask.search.units import is_word

#: orders that are followed at a time; what a mark that is left out costs
_WIDTH, _LEFT_OUT = 48, 2.0


@dataclass(frozen=True)
class Reorder(Proposal):
    """The same words in the likeliest other orders by the trigram, with neighbours kept together or not.

    Attributes:
        longest: units of a text that is put in another order.
        each: orders kept of each weight of what stood together.
    """

    prior: ClassVar[float] = 0.15
    longest: int = 40
    each: int = 16

    def edits(self, site: Site) -> list[Edit]:
        units, n = site.hypothesis.units, len(site.ids)
        if not 3 <= n <= self.longest:
            return []
        found: dict[tuple[str, ...], float] = {}
        for together in (0.5, 1.5, 3.0):
            for order, score in self._orders(site, together):
                new = tuple(units[i] for i in order)
                if new != units:
                    found.setdefault(new, score / (len(new) + 1))
        return [Edit(0, n, new, score) for new, score in found.items()]

    def _orders(self, site: Site, together: float) -> list[tuple[list[int], float]]:
        """Orders of the units' places with what they score, by a beam search."""
        trigram, ids, n = site.search.lexicon.trigram, site.ids, len(site.ids)
        marks = np.array([not is_word(unit) for unit in site.hypothesis.units])
        order_BN = np.zeros((1, 0), np.int64)
        used_BN, score_B = np.zeros((1, n), bool), np.zeros(1)
        a_B = b_B = np.full(1, trigram.start)
        ended: list[tuple[list[int], float]] = []
        for step in range(n):
            every = np.arange(n)[None]
            gain_BN = trigram.log_prob(a_B[:, None], b_B[:, None], ids[None])
            last_B1 = order_BN[:, -1:] if step else np.full((1, 1), -1)
            total_BN = score_B[:, None] + gain_BN + together * (every == last_B1 + 1)
            total_BN = np.where(used_BN, -np.inf, total_BN)
            flat = np.argsort(-total_BN, axis=None, kind="stable")
            rows: list[int] = []
            columns: list[int] = []
            seen = set()
            for at in flat[: 6 * _WIDTH]:
                row, column = divmod(int(at), n)
                if not np.isfinite(total_BN[row, column]) or len(rows) == _WIDTH:
                    break
                # the same words used with the same end: only the best of them goes on
                key = (used_BN[row].tobytes(), column, int(b_B[row]))
                if key not in seen:
                    seen.add(key)
                    rows.append(row)
                    columns.append(column)
            row_B, column_B = np.array(rows), np.array(columns)
            order_BN = np.concatenate([order_BN[row_B], column_B[:, None]], 1)
            used_BN = used_BN[row_B].copy()
            used_BN[np.arange(len(rows)), column_B] = True
            score_B, a_B, b_B = total_BN[row_B, column_B], b_B[row_B], ids[column_B]
            done_B = (used_BN | marks).all(1) if step + 3 >= n else np.zeros(len(rows), bool)
            if done_B.any():
                end_B = trigram.log_prob(a_B, b_B, np.full(len(rows), trigram.end))
                left = n - step - 1
                ended += [
                    (order_BN[i].tolist(), float(score_B[i] + end_B[i] - _LEFT_OUT * left))
                    for i in np.flatnonzero(done_B)
                ]
        return sorted(ended, key=lambda pair: -pair[1])[: self.each]
