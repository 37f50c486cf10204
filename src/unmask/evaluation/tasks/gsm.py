"""Grade-school arithmetic in words (arXiv 2410.05229), generated and answered by reasoning-gym's ``gsm_symbolic``."""

from __future__ import annotations

import re

from unmask.core.errors import MissingExtra
from unmask.evaluation.tasks.task import Problem

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def problems(count: int, seed: int) -> list[Problem]:
    """``count`` questions; one seed, one set.

    Raises:
        MissingExtra: reasoning-gym is not installed.
    """
    try:
        import reasoning_gym
    except ImportError as error:
        raise MissingExtra("task 'gsm_symbolic' needs reasoning-gym: pip install 'unmask[puzzles]'") from error
    rows = reasoning_gym.create_dataset("gsm_symbolic", size=count, seed=seed)
    return [
        Problem(f"gsm_symbolic/{i}", f"Question: {row['question']}\nAnswer:", "", str(row["answer"]), chat=True)
        for i, row in enumerate(rows)
    ]


def same_number(wrote: str, answer: str) -> bool:
    """Whether the last number of a text is the answer (``1,000`` is 1000 and 5.0 is 5)."""
    found = _NUMBER.findall(wrote)
    return bool(found) and float(found[-1].replace(",", "")) == float(answer.replace(",", ""))
