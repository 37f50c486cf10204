"""What a model is asked: what to write, what to score, and what it says of a continuation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unmask.core.errors import UsageError

if TYPE_CHECKING:  # the contracts are read at once, torch when a model is
    from torch import Tensor

    from unmask.core.condition import Condition


@dataclass(frozen=True)
class SamplingRequest:
    """What :meth:`unmask.core.model.Model.sample` is to write.

    Attributes:
        texts: what to write from or behind: texts, chats, boards; None for free samples.
        n: samples of each, or in all without texts.
        canvas: ids [B, L] to fill in: given tokens stay, masked positions hold the mask id.
        condition: semantic vectors instead of texts.
        trace: keep who was unmasked when; ``full`` also the best guess everywhere.
        callback: called after each step.
        live: show the first row in the terminal as it is written.
        share: each process of a launch writes its part and gets everyone's; all must call.
    """

    texts: Sequence[Any] | None = None
    n: int | None = None
    canvas: Tensor | None = None
    condition: Condition | None = None
    trace: bool | str = False
    callback: Callable[[Any], None] | None = None
    live: bool = False
    share: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.texts, str):
            raise UsageError("texts must be a list: write [text]")
        if self.texts is not None and not len(self.texts):
            raise UsageError("texts is empty: give at least one text, or n for free samples")
        if self.n is not None and self.n < 1:
            raise UsageError(f"n={self.n} must be at least 1")

    def temperature(self, asked: float | None) -> float:
        """What was asked for, else 0 where one text a prompt is wanted, else 1: 0 writes the same text every time."""
        if asked is not None:
            return asked
        free = self.texts is None and self.condition is None and self.canvas is None
        return 1.0 if free or (self.n or 1) > 1 else 0.0

    def without(self, who: str, *names: str) -> SamplingRequest:
        """This task, if none of these was asked of a model that cannot do it.

        Raises:
            UsageError: naming the first that was.
        """
        for name in names:
            if getattr(self, name) not in (None, False):
                raise UsageError(f"{name} has no effect on {who}")
        return self


@dataclass(frozen=True)
class EvaluationRequest:
    """What :meth:`unmask.core.model.Model.evaluate` is to score.

    Attributes:
        data: texts, the name of a corpus, a file, a folder; what training held out when None.
        column: the text's column; two, comma between, make pairs.
        texts: how many texts at most.
        length: the longest text in tokens, for models whose canvas is not their own; None for all that fits.
        judge: causal model for GenPPL; None leaves it out.
        samples: corruptions a text for the bound.
        trace: keep one animated unmasking for the page.
        share: each process of a launch scores its part and gets everyone's; all must call.
    """

    data: Any = None
    column: str | None = None
    texts: int = 256
    length: int | None = None
    judge: str | None = None
    samples: int = 8
    trace: bool = True
    share: bool = False

    def without(self, who: str, *names: str) -> EvaluationRequest:
        """This, if none of these was asked of a model that has no use for them.

        Raises:
            UsageError: naming the first that was.
        """
        usual = EvaluationRequest()
        for name in names:
            if getattr(self, name) != getattr(usual, name):
                raise UsageError(f"{name}={getattr(self, name)!r} has no effect on {who}")
        return self


@dataclass(frozen=True)
class ContinuationScore:
    """What :meth:`unmask.core.model.Model.log_likelihood` says of one continuation.

    Attributes:
        nats: log p(continuation | context), or a lower bound on it.
        greedy: whether writing the most probable token again and again gives the continuation; None if not asked.
        bound: True if ``nats`` is a lower bound.
    """

    nats: float
    greedy: bool | None
    bound: bool
