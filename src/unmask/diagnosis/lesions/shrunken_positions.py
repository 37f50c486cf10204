from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.errors import WrongUse
from unmask.diagnosis.causal import CausalSubject, cached_run, drop_entries
from unmask.diagnosis.lesion import Lesion
from unmask.diagnosis.subject import CachedRun, Subject, Wrapped


@dataclass(frozen=True)
class ShrunkenPositions(Lesion):
    """Positions are taken from the length of a cache that was shortened: x1.6 perplexity at nine tenths kept."""

    caught_by = "cache"
    kinds = ("causal",)
    reference = "this project, docs on key-norm compression"

    keep: float = 0.9

    def inject(self, subject: Subject) -> Subject:
        if not isinstance(subject, CausalSubject):
            raise WrongUse(f"this fault is planted into a CausalSubject, not into {type(subject).__name__}")
        model, keep = subject.model, self.keep

        class Shrunken(Wrapped):
            def cached(self, ids_BL: Tensor, start: int) -> CachedRun:
                def evict(cache: object, place: int) -> None:
                    if place < 0:
                        drop_entries(cache, torch.arange(start - max(1, int(start * keep)), start))

                return cached_run(model, ids_BL, start, keep=keep, evict=evict, position=lambda true, held: held)

        return Shrunken(subject)
