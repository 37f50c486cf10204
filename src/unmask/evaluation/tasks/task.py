"""How a model is run on a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from unmask.core.errors import UsageError
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import generate
from unmask.evaluation.likelihood import scoring
from unmask.evaluation.tasks.problem import Problem, same_number, tasks
from unmask.metrics.bootstrap import Interval, ratio_interval
from unmask.models.causal import CausalModel
from unmask.models.causal_writing import Writing, positions, prompt_ids, write_on
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
    model: TextModel | CausalModel,
    name: str,
    *,
    count: int = 64,
    order: str | None = None,
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
        model: a masked model, or a causal one, which answers but fills no holes.
        count, seed: which problems.
        order, steps, temperature, block_length, cache: how to write; order None is "margin", steps None writes one
            token a step. A causal model takes the temperature alone.
        execute: run the programs that the model completes (:mod:`unmask.evaluation.tasks.execute`). OFF unless asked
            for: it is code that nobody has read. Without it a hole counts as right if its text came back exactly.
        problems: instead of the task's own.

    Raises:
        UsageError: no such task, a model that cannot be asked, a setting that is out of range or has no effect, or
            ``execute`` for a task without programs.
    """
    from unmask.evaluation.tasks.execute import passes

    problems = load_task(name, count, seed) if problems is None else problems
    code = any(problem.head is not None for problem in problems)
    if execute and not code:
        raise UsageError(f"execute=True has no effect on {name!r}, which has no programs")
    if answer_length < 1:
        raise UsageError(f"answer_length={answer_length} must be at least 1")
    given: dict[str, Any] = {"order": order, "steps": steps, "block_length": block_length, "cache": cache}
    write: Callable[[Problem, int], str | None]
    settings: dict[str, Any] = {"temperature": temperature, "seed": seed, "count": len(problems)}
    if isinstance(model, CausalModel):
        writing = Writing(temperature=temperature, length=answer_length, seed=seed)
        _answers_only(model, name, problems, given)
        write = partial(_write_on, model, writing=writing)
        settings |= {"answer_length": answer_length}
    elif isinstance(model, TextModel):
        how = given | {"order": order or "margin", "temperature": temperature, "seed": seed}
        plan = DecodingPlan(quota="linear", **how)
        write = partial(_write, model, plan=plan, answer_length=answer_length)
        settings |= {"order": how["order"], "steps": steps} | plan.to_dict()
    else:
        raise UsageError(f"a task is written by a masked or a causal model, not by a {type(model).__name__}")
    answers = []
    for number, problem in enumerate(problems):
        wrote = write(problem, number)
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
    return TaskResult(name, judged, answers, settings)


def _answers_only(model: CausalModel, name: str, problems: list[Problem], given: dict[str, Any]) -> None:
    """Refuse what a model that writes left to right cannot do.

    Raises:
        UsageError: a hole to be filled, or a setting of masked models.
    """
    if any(problem.after for problem in problems):
        raise UsageError(
            f"{name!r} has holes to fill, and a causal model ({model.name}) does not see what stands behind one: "
            "take a masked model, or a task with answers (gsm_symbolic)"
        )
    for setting, value in given.items():
        if value is not None:
            raise UsageError(f"{setting}={value!r} has no effect on a causal model, which writes left to right")


def _write_on(model: CausalModel, problem: Problem, number: int, writing: Writing) -> str | None:
    chat = problem.chat and getattr(model.tokenizer, "chat_template", None)
    ids = prompt_ids(model, [{"role": "user", "content": problem.before}] if chat else problem.before)
    limit = positions(model)
    if limit is not None and len(ids) + writing.length > limit:
        return None
    found = write_on(model, [ids], writing, first_row=number)[0]
    return str(model.tokenizer.decode(found, skip_special_tokens=True))


def _write(
    model: TextModel,
    problem: Problem,
    number: int,
    plan: DecodingPlan,
    answer_length: int,
) -> str | None:
    def ids(text: str) -> list[int]:
        return list(model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    first, last = model.frame
    before = model.prompt_ids(problem.before) if problem.chat else [*first, *ids(problem.before)]
    length = len(ids(problem.answer)) if problem.head is not None else answer_length
    row = [*before, *[model.denoiser.mask_id] * length, *ids(problem.after), *last]
    limit = model.denoiser.max_length or (model.card.length if model.own_canvas else None)
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
