"""What a fault is: planted on purpose into a healthy subject, it proves that its check catches it."""

from __future__ import annotations

from typing import ClassVar

from unmask.core.registry import Leaf, Registry
from unmask.diagnosis.subject import Kind, Subject


class Fault(Leaf):
    """One planted fault.

    Attributes:
        caught_by: the check that must name it.
        kinds: the kinds of subject it can be planted into.
        conditional: True if it needs a subject with a latent.
        trains: True if it trains a (small) model.
        needs_full: True if only the full budget can see it.
    """

    caught_by: ClassVar[str] = ""
    kinds: ClassVar[tuple[Kind, ...]] = ("masked",)
    conditional: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    needs_full: ClassVar[bool] = False

    def inject(self, subject: Subject) -> Subject:
        """The same subject with the fault.

        Raises:
            UsageError: it cannot be planted into this subject.
        """
        raise NotImplementedError


faults: Registry[Fault] = Registry("fault", "unmask.diagnosis.faults", Fault)
