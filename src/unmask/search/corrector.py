"""What a learned corrector is to a search: whole texts from (target, what is missing, hypothesis)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from unmask.search.context import SearchContext
from unmask.search.hypothesis import Hypothesis


class Corrector(Protocol):
    """Proposes rows of ids, written whole or with masks left for the denoiser, that mend the best hypotheses."""

    def rows(self, search: SearchContext, best: Sequence[Hypothesis]) -> tuple[list[list[int]], int]:
        """Rows for ``search.z_Z``, from hypotheses with their own vectors, and how many rows the network ran."""
        ...
