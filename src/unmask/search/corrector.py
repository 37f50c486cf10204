"""What a learned corrector is to a search: whole texts from (target, what is missing, hypothesis)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from unmask.search.climb import Climb
    from unmask.search.hypothesis import Hypothesis


class Corrector(Protocol):
    """Proposes rows of ids, written whole or with masks left for the denoiser, that mend the best hypotheses."""

    def rows(self, climb: Climb, best: Sequence[Hypothesis]) -> list[list[int]]:
        """Rows for ``climb.z_Z``, from hypotheses with their own vectors."""
        ...
