from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Generated, Subject, Wrapped


@dataclass(frozen=True)
class IgnoredSetting(Fault):
    """A sampler argument that is taken and silently not used."""

    caught_by = "order"
    reference = "DreamLM/Dream issue 79"

    name: str = "order"

    def inject(self, subject: Subject) -> Subject:
        name = self.name

        class Silent(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                settings.pop(name, None)
                return self.inner.generate(batch, seed, **settings)

        return Silent(subject)
