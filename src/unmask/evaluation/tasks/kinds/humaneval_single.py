from dataclasses import dataclass

from unmask.evaluation.tasks.kinds._humaneval import HumanEval


@dataclass(frozen=True)
class HumanEvalSingle(HumanEval):
    """A line that is not blank, cut from HumanEval's solutions."""

    cut = "single"
