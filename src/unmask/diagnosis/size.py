"""Whether a network is small for its data, where no learning curve was kept: training tokens for each number in it."""

from __future__ import annotations

from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.subject import NotProvided
from unmask.diagnosis.validated_subject import SubjectFault

#: training tokens for each number in the network from which on a larger one learns more from the same data: half of the
#: 20 at which size and data are in balance (Hoffmann et al. 2022, arXiv 2203.15556)
SMALL = 10.0


def tokens_a_number(context: CheckContext) -> float | None:
    """Training tokens (of up to 20,000 rows) for each number in the network; None where either cannot be counted."""
    if not context.subject.provides("weights"):
        return None
    try:
        weights = context.subject.weights()
        ids_NL = context.train_ids
    except (NotProvided, SubjectFault):
        return None
    # what is shared, as a table that is also the head, is counted once
    size = sum({w.data_ptr(): w.numel() for w in weights.values() if w.is_floating_point()}.values())
    return float(context.in_text(ids_NL).sum()) / size if size else None


def size_tells(tokens_a_number: float | None) -> str:
    """The repair of a model that has not learned enough, from its size alone; "" where that is not known."""
    if tokens_a_number is None:
        return ""
    return "training.capacity" if tokens_a_number >= SMALL else "training.steps"
