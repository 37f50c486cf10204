"""Problems with checkable answers: written, or filled into a hole, and counted right or wrong."""

from unmask.evaluation.tasks.problem import Problem
from unmask.evaluation.tasks.task import TaskResult, load_task, run_task

__all__ = ["Problem", "TaskResult", "load_task", "run_task"]
