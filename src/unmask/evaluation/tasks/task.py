"""How a model is run on a task."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from unmask.core.errors import UsageError
from unmask.core.model import Model
from unmask.core.sampling_config import SamplingConfig
from unmask.evaluation.answering import answer_config
from unmask.evaluation.tasks.problem import Problem, same_number, tasks
from unmask.metrics.bootstrap import Interval, ratio_interval


@dataclass(frozen=True)
class Answer:
    """What a model wrote for a problem, and whether it is right (None: left out, it does not fit the model)."""

    problem: str
    wrote: str
    right: bool | None


@dataclass(frozen=True)
class TaskResult:
    """What :func:`run_task` measured.

    Attributes:
        task: its name.
        judged_by: ``exact match``, ``number`` or ``execution``.
        answers: one a problem.
        settings: how it was run.
        plan: how it was written, in one line.
    """

    task: str
    judged_by: str
    answers: list[Answer]
    settings: dict[str, Any]
    plan: str = ""

    @property
    def fitted(self) -> int:
        """Problems that fit the model's positions; the others are not counted."""
        return sum(answer.right is not None for answer in self.answers)

    def accuracy(self, seed: int = 0) -> Interval:
        """Share that is right among those that fit, with its interval over problems.

        Raises:
            UsageError: none fits.
        """
        right = np.array([answer.right for answer in self.answers if answer.right is not None], dtype=np.float64)
        if not len(right):
            raise UsageError(f"no problem of {self.task!r} fits the model's positions")
        return ratio_interval(right, np.ones_like(right), seed=seed)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"fitted": self.fitted}


def load_task(name: str, count: int, seed: int = 0) -> list[Problem]:
    """The first ``count`` problems of a task.

    Raises:
        UsageError: no such task, or a count below 1.
        MissingExtra: the package that carries its problems is not installed.
    """
    task = tasks.make(name)
    if count < 1:
        raise UsageError(f"count={count} must be at least 1")
    return task.problems(count, seed)


def run_task(
    model: Model,
    name: str,
    *,
    count: int = 64,
    answer_length: int = 128,
    execute: bool = False,
    problems: list[Problem] | None = None,
    config: SamplingConfig | None = None,
    **settings: Any,
) -> TaskResult:
    """The answers that a model writes to a task's problems, and which are right.

    A hole gets as many masks as its text had tokens: the length is given away, as infilling is usually reported
    (arXiv 2502.06768). An answer gets ``answer_length``.

    Args:
        model: a masked model, or a causal one, which answers but fills no holes.
        count: how many problems; which ones, the seed says.
        execute: run the programs that the model completes (:mod:`unmask.evaluation.tasks.execute`). OFF unless asked
            for: it is code that nobody has read. Without it a hole counts as right if its text came back exactly.
        problems: instead of the task's own.
        config, settings: how to write (:class:`unmask.core.sampling_config.SamplingConfig`). What neither they nor the
            model's default plan say is one token a step by margin, at temperature 0.

    Raises:
        UsageError: no such task, a model that cannot be asked, a setting that is out of range or has no effect, or
            ``execute`` for a task without programs.
    """
    from unmask.evaluation.tasks.execute import passes

    if not isinstance(model, Model):
        raise UsageError(f"a task is for a model from unmask.load, not for a {type(model).__name__}")
    if "batch_size" in settings:
        raise UsageError(f"batch_size={settings['batch_size']} has no effect on a task: its problems go one by one")
    chosen = answer_config(model, settings, config)
    problems = load_task(name, count, chosen.seed) if problems is None else problems
    code = any(problem.head is not None for problem in problems)
    if execute and not code:
        raise UsageError(f"execute=True has no effect on {name!r}, which has no programs")
    if answer_length < 1:
        raise UsageError(f"answer_length={answer_length} must be at least 1")
    chats = model.reads_chats
    written = model.fill(
        [[{"role": "user", "content": p.before}] if p.chat and chats else p.before for p in problems],
        [p.after for p in problems],
        [model.token_count(p.answer) if p.head is not None else answer_length for p in problems],
        chosen,
    )
    answers = []
    for problem, wrote in zip(problems, written, strict=True):
        if wrote is None:
            answers.append(Answer(problem.name, "", None))
            continue
        if not code:
            right = same_number(wrote, problem.answer)
        elif execute:
            right = passes(f"{problem.head}{wrote}{problem.tail}")
        else:
            right = wrote == problem.answer
        answers.append(Answer(problem.name, wrote, right))
    judged = "execution" if execute else "exact match" if code else "number"
    about = {"seed": chosen.seed, "count": len(problems), "answer_length": answer_length}
    return TaskResult(name, judged, answers, chosen.to_dict() | about, str(chosen))
