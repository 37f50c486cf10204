"""What faults of a key-value cache share: the subject is a causal model, and its cached pass is another one."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from unmask.core.errors import UsageError
from unmask.diagnosis.causal import CausalSubject, cached_run, drop_entries
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import CachedRun, Subject, Wrapped


def causally(subject: Subject) -> CausalSubject:
    """The subject as a causal one.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(subject, CausalSubject):
        raise UsageError(f"this fault is planted into a CausalSubject, not into {type(subject).__name__}")
    return subject


class CacheFault(Fault):
    """A fault of the cached pass; a subclass says what the pass does instead."""

    caught_by = "cache"
    kinds = ("causal",)
    reference = "this project, docs on key-norm compression"

    def cached(self, model: Any, ids_BL: Tensor, start: int) -> CachedRun:
        """The cached pass with the fault; see :meth:`unmask.diagnosis.subject.Subject.cached`."""
        raise NotImplementedError

    def inject(self, subject: Subject) -> Subject:
        model, cached = causally(subject).model, self.cached

        class Faulty(Wrapped):
            def cached(self, ids_BL: Tensor, start: int) -> CachedRun:
                return cached(model, ids_BL, start)

        return Faulty(subject)


def evicted(model: Any, ids_BL: Tensor, start: int, held: Tensor, keep: float, **others: Any) -> CachedRun:
    """A pass whose cache holds only the entries ``held`` of the prefix."""

    def evict(cache: Any, place: int) -> None:
        if place < 0:
            drop_entries(cache, held)

    return cached_run(model, ids_BL, start, keep=keep, evict=evict, held=held, **others)
