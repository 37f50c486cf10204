"""What the audit's own checks are asked with: a sampler, a law, and the means to put the sampler on another law."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar

from unmask.auditing.distance import Ruler
from unmask.auditing.exact import ExactLaw
from unmask.auditing.laws.chain import Chain
from unmask.auditing.price import ChainPrices
from unmask.auditing.subject import Sampled, vectors
from unmask.core.registry import Registry
from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext, DiagnosisBudget

#: texts that are measured against the law at a time
TEXTS = 256


class Bench(CheckContext):
    """A sampler on a law.

    Args:
        make: puts the sampler on a law.
        law: the law that is audited on.
        budget, seed: as for any check.
    """

    def __init__(
        self, make: Callable[[ExactLaw], Sampled], law: ExactLaw, budget: DiagnosisBudget, seed: int = 0
    ) -> None:
        self.make, self.law, self.sampled = make, law, make(law)
        super().__init__(self.sampled, budget, seed)

    @property
    def ruler(self) -> Ruler:
        """Measures :data:`TEXTS` texts written for the first rows of the law's data."""
        rows = self.subject.data(TEXTS)
        made: Ruler = self.once("ruler", lambda: Ruler(self.law, TEXTS, vectors(self.law, rows), self.seed + 1))
        return made

    @cached_property
    def prices(self) -> ChainPrices:
        """Of budgets of forwards on the chain."""
        assert isinstance(self.law, Chain)
        return ChainPrices(self.law)

    def written(self, **settings: Any) -> Any:
        """:data:`TEXTS` texts, under settings of the sampler; once."""
        rows = self.subject.data(TEXTS)
        key = ("written", *sorted(settings.items()))
        return self.once(key, lambda: self.subject.generate(rows, self.seed, **settings))


class AuditCheck(Check):
    """A question about a sampler that an exact law answers.

    Attributes:
        laws: which laws it is asked on, by name.
    """

    laws: ClassVar[tuple[str, ...]] = ("chain",)
    kinds = ("masked",)
    needs = ("data", "generate")


audit_checks: Registry[AuditCheck] = Registry("audit", "unmask.auditing.checks", AuditCheck)
