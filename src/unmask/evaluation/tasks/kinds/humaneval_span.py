from dataclasses import dataclass

from unmask.evaluation.tasks.kinds._humaneval import HumanEval


@dataclass(frozen=True)
class HumanEvalSpan(HumanEval):
    """A run of characters, cut from HumanEval's solutions."""

    cut = "span"
