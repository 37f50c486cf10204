from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Generated, Subject, Wrapped


@dataclass(frozen=True)
class Collapsed(Fault):
    """Mode collapse: a handful of good texts, again and again. Any judge likes each of them.

    Attributes:
        texts: how many different ones there are.
    """

    caught_by = "frontier"

    texts: int = 3

    def inject(self, subject: Subject) -> Subject:
        texts = self.texts

        class Few(Wrapped):
            def generate(self, batch: Batch, seed: int, **settings: Any) -> Generated:
                out = self.inner.generate(batch, seed, **settings)
                # texts of the data, but none that is compared with
                known = self.inner.data(1200).ids_BL.roll(texts * seed, 0)[-texts:]
                again = known.repeat(-(-len(batch) // texts), 1)[: len(batch)]
                # without steps: what is shown is not what was drawn
                return replace(out, ids_BL=out.ids_BL if settings else again, steps=None)

        return Few(subject)
