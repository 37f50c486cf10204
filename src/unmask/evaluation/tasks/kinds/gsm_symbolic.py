from __future__ import annotations

from dataclasses import dataclass

from unmask.core.errors import MissingExtra
from unmask.evaluation.tasks.problem import Problem, Task


@dataclass(frozen=True)
class GsmSymbolic(Task):
    """Grade-school arithmetic in words, generated and answered by reasoning-gym."""

    reference = "2410.05229"

    def problems(self, count: int, seed: int) -> list[Problem]:
        try:
            import reasoning_gym
        except ImportError as error:
            raise MissingExtra("task 'gsm_symbolic' needs reasoning-gym: pip install 'unmask[puzzles]'") from error
        rows = reasoning_gym.create_dataset("gsm_symbolic", size=count, seed=seed)
        return [
            Problem(f"gsm_symbolic/{i}", f"Question: {row['question']}\nAnswer:", "", str(row["answer"]), chat=True)
            for i, row in enumerate(rows)
        ]
