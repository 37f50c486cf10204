from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unmask.core.errors import UsageError
from unmask.diagnosis.context import read
from unmask.diagnosis.fault import Fault
from unmask.diagnosis.subject import Batch, State, Subject, TrainingView, Wrapped


@dataclass(frozen=True)
class KnownRows(Fault):
    """Overfitted: what is visible is looked up among the training rows, and the rest of the row is recited.

    Attributes:
        rows: how many training rows are known by heart.
        sure: nats by which a recited token's logit is raised.
    """

    caught_by = "gap"

    rows: int = 512
    sure: float = 6.0

    def inject(self, subject: Subject) -> Subject:
        if not subject.provides("data") or subject.mask_id is None:
            raise UsageError("this fault needs a masked subject with training rows")
        known_NL, sure = subject.data(self.rows, "train").ids_BL, self.sure

        class Overfitted(Wrapped):
            def predict(self, state: State) -> Tensor:
                logits_NV = self.inner.predict(state).clone()
                row_N, col_N = (i.tolist() for i in state.at_BL.nonzero(as_tuple=True))
                found = [self._found(x_L) for x_L in state.x_BL]
                for i, (row, col) in enumerate(zip(row_N, col_N, strict=True)):
                    if found[row] is not None:
                        logits_NV[i, int(found[row][col])] += sure
                return logits_NV

            def training_view(self, batch: Batch, seed: int) -> TrainingView:
                view = self.inner.training_view(batch, seed)
                logits_NV = self.predict(State(view.x_BL, view.scored_BL, view.cond))
                ce_N = read(logits_NV, batch.targets[view.scored_BL])[0]
                loss = view.loss if view.weight_N is None else float((view.weight_N.double().cpu() * ce_N).sum())
                return replace(view, ce_N=ce_N, loss=loss, logits_NV=None)

            def _found(self, x_L: Tensor) -> Tensor | None:
                """The one known row that has the visible tokens; None if there are several, or little is visible."""
                visible_L = x_L != self.mask_id
                if 2 * int(visible_L.sum()) < len(x_L) or x_L.shape != known_NL.shape[1:]:
                    return None
                fits_N = (known_NL[:, visible_L] == x_L[visible_L]).all(1)
                return known_NL[torch.argmax(fits_N.int())] if int(fits_N.sum()) == 1 else None

        return Overfitted(subject)
