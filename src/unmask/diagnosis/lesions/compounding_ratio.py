from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.core.errors import WrongUse
from unmask.diagnosis.causal import CausalSubject, cached_run, drop_entries
from unmask.diagnosis.lesion import Lesion
from unmask.diagnosis.subject import CachedRun, Subject, Wrapped


@dataclass(frozen=True)
class CompoundingRatio(Lesion):
    """A share is kept after every token, so that the cache shrinks to almost nothing."""

    caught_by = "cache"
    kinds = ("causal",)
    reference = "this project, docs on key-norm compression"

    keep: float = 0.9

    def inject(self, subject: Subject) -> Subject:
        if not isinstance(subject, CausalSubject):
            raise WrongUse(f"this fault is planted into a CausalSubject, not into {type(subject).__name__}")
        model, keep = subject.model, self.keep

        class Melting(Wrapped):
            def cached(self, ids_BL: Tensor, start: int) -> CachedRun:
                def evict(cache: object, place: int) -> None:
                    held = cache.get_seq_length()  # type: ignore[attr-defined]
                    drop_entries(cache, torch.arange(held - max(1, int(held * keep)), held))

                return cached_run(model, ids_BL, start, keep=keep, evict=evict)

        return Melting(subject)
