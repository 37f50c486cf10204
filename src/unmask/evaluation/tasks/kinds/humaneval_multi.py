from dataclasses import dataclass

from unmask.evaluation.tasks.kinds._humaneval import HumanEval


@dataclass(frozen=True)
class HumanEvalMulti(HumanEval):
    """Two lines or more, cut from HumanEval's solutions."""

    cut = "multi"
