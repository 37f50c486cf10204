"""Problems with checkable answers: written, or filled into a hole, and counted right or wrong."""

from unmask.evaluation.tasks.task import Problem, TaskResult, load_task, run_task, task_names

__all__ = ["Problem", "TaskResult", "load_task", "run_task", "task_names"]
