"""How a model is run on a task."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from unmask.core.errors import WrongUse
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate
from unmask.evaluation.likelihood import scoring
from unmask.evaluation.tasks.problem import Problem, same_number, tasks
from unmask.metrics.bootstrap import Interval, ratio_interval
from unmask.models.adapters import AdapterModel
from unmask.models.text_model import TextModel


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
    """

    task: str
    judged_by: str
    answers: list[Answer]
    settings: dict[str, Any]

    @property
    def fitted(self) -> int:
        """Problems that fit the model's positions; the others are not counted."""
        return sum(answer.right is not None for answer in self.answers)

    def accuracy(self, seed: int = 0) -> Interval:
        """Share that is right among those that fit, with its interval over problems.

        Raises:
            WrongUse: none fits.
        """
        right = np.array([answer.right for answer in self.answers if answer.right is not None], dtype=np.float64)
        if not len(right):
            raise WrongUse(f"no problem of {self.task!r} fits the model's positions")
        return ratio_interval(right, np.ones_like(right), seed=seed)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"fitted": self.fitted}


def load_task(name: str, count: int, seed: int = 0) -> list[Problem]:
    """The first ``count`` problems of a task.

    Raises:
        WrongUse: no such task, or a count below 1.
        MissingExtra: the package that carries its problems is not installed.
    """
    task = tasks.make(name)
    if count < 1:
        raise WrongUse(f"count={count} must be at least 1")
    return task.problems(count, seed)


def run_task(
    model: TextModel,
    name: str,
    *,
    count: int = 64,
    order: str = "margin",
    steps: int | None = None,
    temperature: float = 0.0,
    block_length: int | None = None,
    cache: str | None = None,
    answer_length: int = 128,
    execute: bool = False,
    seed: int = 0,
    problems: list[Problem] | None = None,
) -> TaskResult:
    """Write the answers of a task and count the right ones.

    A hole gets as many masks as its text had tokens: the length is given away, as infilling is usually reported
    (arXiv 2502.06768). An answer gets ``answer_length``.

    Args:
        count, seed: which problems.
        order, steps, temperature, block_length, cache: how to write; steps None writes one token a step.
        execute: run the programs that the model completes (:mod:`unmask.evaluation.tasks.execute`). OFF unless asked
            for: it is code that nobody has read. Without it a hole counts as right if its text came back exactly.
        problems: instead of the task's own.

    Raises:
        WrongUse: no such task, a setting out of range, or ``execute`` for a task without programs.
    """
    from unmask.evaluation.tasks.execute import passes

    problems = load_task(name, count, seed) if problems is None else problems
    code = any(problem.head is not None for problem in problems)
    if execute and not code:
        raise WrongUse(f"execute=True has no effect on {name!r}, which has no programs")
    if answer_length < 1:
        raise WrongUse(f"answer_length={answer_length} must be at least 1")
    plan = DecodingPlan(
        order=order,
        quota="linear",
        steps=steps,
        temperature=temperature,
        block_length=block_length,
        cache=cache,
        seed=seed,
    )
    answers = []
    for number, problem in enumerate(problems):
        wrote = _write(model, problem, number, plan, answer_length)
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
    asked = {"order": order, "steps": steps, "temperature": temperature, "seed": seed, "count": len(problems)}
    judged = "execution" if execute else "exact match" if code else "number"
    return TaskResult(name, judged, answers, asked | plan.to_dict())


def _write(
    model: TextModel,
    problem: Problem,
    number: int,
    plan: DecodingPlan,
    answer_length: int,
) -> str | None:
    def ids(text: str) -> list[int]:
        return list(model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    adapted = isinstance(model, AdapterModel)
    first, last = model.frame if isinstance(model, AdapterModel) else ([], [])
    if problem.chat and isinstance(model, AdapterModel):
        before = model.prompt_ids(problem.before)
    else:
        before = [*first, *ids(problem.before)]
    length = len(ids(problem.answer)) if problem.head is not None else answer_length
    row = [*before, *[model.denoiser.mask_id] * length, *ids(problem.after), *last]
    limit = model.denoiser.max_length or (None if adapted else model.card.length)
    if limit is not None and len(row) > limit:
        return None
    with scoring(model.denoiser):
        found = generate(
            model.denoiser,
            torch.tensor([row], device=model.device),
            replace(plan, steps=plan.steps or length),
            # the problem's number names its noise: neither order nor count of the others matters
            row_ids_B=torch.tensor([number], device=model.device),
            trace=None,
        ).sequences
    return model.decode(found[:, len(before) : len(before) + length])[0]
