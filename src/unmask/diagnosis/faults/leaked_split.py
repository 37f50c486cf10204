from __future__ import annotations

from dataclasses import dataclass

from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, Split, Subject, Wrapped


@dataclass(frozen=True)
class LeakedSplit(Fault):
    """Half of the held-out rows stand in training too: rows were shuffled before they were split."""

    caught_by = "data"
    kinds = ("masked", "causal")

    def inject(self, subject: Subject) -> Subject:
        class Leaked(Wrapped):
            def data(self, n: int, split: Split = "held_out") -> Batch:
                batch = self.inner.data(n, split)
                if split == "held_out":
                    return batch
                # every second of the first rows is a held-out row
                held = self.inner.data(1200, "held_out").ids_BL[::2]
                ids_BL = batch.ids_BL.clone()
                count = min(len(held), (len(ids_BL) + 1) // 2)
                ids_BL[: 2 * count : 2] = held[:count]
                return Batch(ids_BL, batch.cond, valid_BL=batch.valid_BL)

        return Leaked(subject)
