"""One call from a subject to a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from unmask.core import distributed
from unmask.core.errors import UsageError, did_you_mean
from unmask.diagnosis.baseline import Baseline
from unmask.diagnosis.check import Check, checks, run_check
from unmask.diagnosis.context import BUDGETS, CheckContext, DiagnosisBudget
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.ledger import Ledger, ledger
from unmask.diagnosis.prescription import Prescription, prescription
from unmask.diagnosis.replacement import Replacement, replacements
from unmask.diagnosis.shortfall import with_cause
from unmask.diagnosis.subject import Subject
from unmask.diagnosis.verdict import Verdict, judge
from unmask.diagnosis.writing import WritingReport, writing


def diagnose(
    subject: Subject,
    *,
    budget: Literal["quick", "full"] | DiagnosisBudget = "quick",
    only: Sequence[str] | None = None,
    seed: int = 0,
    progress: bool | Callable[[str], None] = False,
    share: bool = False,
    baseline: str | Path | None = None,
    on_finding: Callable[[Finding], None] | None = None,
) -> Verdict:
    """Ask every question that the budget allows.

    Args:
        subject: what to diagnose: a :class:`Subject` of your own, ``NativeSubject.of(...)`` or ``CausalSubject(...)``.
        budget: ``quick``, ``full``, or one of your own; the cost does not depend on the corpus.
        only: only these checks, ``"name"`` or ``"name:setting=value"``; all of the budget when None.
        seed: of everything drawn.
        progress: show a progress bar, or call this with each check's name.
        share: each process of a launch (torchrun, accelerate) runs every n-th check and gets the whole verdict; all
            must call.
        baseline: an earlier verdict of the same model as JSON: what is surely worse now fails, what is better is said.
        on_finding: called with each finding as it comes, the writing first (as the finding of the check ``writing``);
            with ``share`` with those of this process.

    Raises:
        UsageError: an unknown check or budget, not a subject, or a baseline that cannot be compared with.
    """
    if not isinstance(budget, DiagnosisBudget):
        if budget not in BUDGETS:
            raise UsageError(f"budget={budget!r} is unknown: {did_you_mean(str(budget), BUDGETS)}")
        budget = BUDGETS[budget]
    if not isinstance(subject, Subject):
        raise UsageError(
            f"{type(subject).__name__} is not a Subject: derive one with data, training_view, predict and generate "
            "(docs/diagnose_your_own.md), or use unmask.diagnose for a loaded model"
        )
    earlier = None if baseline is None else Baseline.read(baseline)
    if earlier is not None:
        earlier.require(subject.name, budget.name)
    asked = [checks.make(spec) for spec in (checks if only is None else only)]
    if only is None and budget.name == "quick":
        asked = [c for c in asked if c.quick]
    start = time.perf_counter()
    context = CheckContext(subject, budget, seed)
    world, me = (distributed.world_size(), distributed.rank()) if share else (1, 0)
    # what it writes is looked at once, by the first process, and before anything else; not where one check is wanted
    wrote = writing(context) if only is None and me == 0 else None
    if wrote is not None and on_finding is not None:
        on_finding(wrote.finding)
    account: Ledger | None = None if wrote is None else with_cause(ledger(context), context, wrote)
    helped = what_helps(context, wrote)
    findings = _run(asked[me::world], context, progress, on_finding)
    forwards = context.subject.forwards
    if share:
        dealt = [iter(part) for part in distributed.gather_object([findings])]
        findings = [next(dealt[i % world]) for i in range(len(asked))]
        forwards = sum(distributed.gather_object([forwards]))
        wrote, account, helped = distributed.broadcast_object((wrote, account, helped))
    return judge(
        findings,
        wrote,
        account,
        earlier,
        replacements=helped[0],
        prescription=helped[1],
        subject=subject.name,
        notes=tuple(subject.notes),
        plan=subject.plan_words,
        budget=budget.name,
        seed=seed,
        forwards=forwards,
        seconds=round(time.perf_counter() - start, 2),
    )


def what_helps(
    context: CheckContext, wrote: WritingReport | None
) -> tuple[tuple[Replacement, ...], Prescription | None]:
    """With the full budget, and where the writing is not as it should be: what helps."""
    if context.budget.name != "full" or wrote is None or wrote.status not in ("fail", "warn"):
        return (), None
    return replacements(context), prescription(context, context.subject.path or context.subject.name)


def _run(
    asked: Sequence[Check],
    context: CheckContext,
    progress: bool | Callable[[str], None],
    on_finding: Callable[[Finding], None] | None,
) -> list[Finding]:
    from tqdm import tqdm

    findings = []
    with tqdm(asked, unit="check", leave=False, disable=progress is not True) as bar:
        for check in bar:
            name = checks.name_of(check)
            bar.set_postfix_str(name)
            if callable(progress):
                progress(name)
            findings.append(run_check(check, context))
            if on_finding is not None:
                on_finding(findings[-1])
    return findings
