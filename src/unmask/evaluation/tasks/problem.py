"""What a problem with a checkable answer is, and what a task is: where such problems come from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from unmask.core.registry import Leaf, Registry

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Problem:
    """One question, or one hole in a text.

    Attributes:
        name: of the problem in its source.
        before, after: text around what is to be written; ``after`` is empty for an answer.
        answer: what was there, or the right answer.
        head, tail: for code; with the written text between them, a program that fails where the code is wrong.
        chat: put ``before`` through the model's chat template where it has one.
    """

    name: str
    before: str
    after: str
    answer: str
    head: str | None = None
    tail: str | None = None
    chat: bool = False


class Task(Leaf):
    """A source of problems."""

    def problems(self, count: int, seed: int) -> list[Problem]:
        """The first ``count`` problems, or all where there are fewer; one seed, one set.

        Raises:
            MissingExtra: the package that carries the problems is not installed.
        """
        raise NotImplementedError


tasks: Registry[Task] = Registry("task", "unmask.evaluation.tasks.kinds", Task)


def same_number(wrote: str, answer: str) -> bool:
    """Whether the last number of a text is the answer (``1,000`` is 1000 and 5.0 is 5)."""
    found = _NUMBER.findall(wrote)
    return bool(found) and float(found[-1].replace(",", "")) == float(answer.replace(",", ""))
