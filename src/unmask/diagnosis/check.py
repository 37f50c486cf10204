"""What a check is, and running one: what is missing or goes wrong becomes a finding."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import ClassVar

from unmask.core.registry import Leaf, Registry
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding, clip_share, sound
from unmask.diagnosis.subject import Kind, NotProvided
from unmask.diagnosis.validated_subject import SubjectFault

log = logging.getLogger(__name__)


class Check(Leaf):
    """One question about a subject, with a threshold that is derived, not guessed.

    Attributes:
        title: the question, in a user's words.
        fault: what a failure means, as one sentence.
        needs: the subject's methods it calls.
        kinds: the kinds of subject it can be asked of.
        apart: why it is not asked of the others, as the end of a sentence.
        quick: whether the quick budget includes it.
        repair: what puts this fault right, unless the finding says it (:data:`unmask.diagnosis.repair.REPAIRS`).
        leads_to: checks that this fault makes fail as well: they are its consequences, and the verdict says so.
    """

    title: ClassVar[str] = ""
    fault: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ("data", "predict")
    kinds: ClassVar[tuple[Kind, ...]] = ("masked", "causal")
    apart: ClassVar[str] = ""
    quick: ClassVar[bool] = True
    repair: ClassVar[str] = ""
    leads_to: ClassVar[tuple[str, ...]] = ()

    def run(self, context: CheckContext) -> Finding:
        """Measure and judge; the runner adds name, title and cost."""
        raise NotImplementedError


checks: Registry[Check] = Registry("check", "unmask.diagnosis.checks", Check)


def run_check(check: Check, context: CheckContext) -> Finding:
    """A finding, whatever happens."""
    name = checks.name_of(check)
    before, start = context.subject.forwards, time.perf_counter()
    finding = sound(_result(check, context))
    return replace(
        finding,
        check=name,
        title=check.title,
        fault=finding.fault or check.fault,
        share=clip_share(finding.share),
        repair=(finding.repair or check.repair) if finding.status in ("fail", "warn") else "",
        forwards=context.subject.forwards - before,
        seconds=round(time.perf_counter() - start, 3),
    )


def _result(check: Check, context: CheckContext) -> Finding:
    subject = context.subject
    if subject.kind not in check.kinds:
        said = f"this question is for {' and '.join(check.kinds)} models, this one is {subject.kind}"
        return Finding("not_run", why=f"{said}: {check.apart}" if check.apart else said)
    missing = [m for m in check.needs if not subject.provides(m)]
    if missing:
        return _missing(", ".join(missing))
    try:
        return check.run(context)
    except NotProvided as absent:
        return _missing(str(absent))
    except SubjectFault as fault:
        return Finding(
            "fail",
            fault=f"{fault}.",
            measured=str(fault),
            threshold="no error, and finite numbers of the right shape",
            why=f"The subject's {fault.method} cannot be used as it is, so this question has no answer.",
            next_step=f"Call {fault.method} by itself on a small batch and repair it.",
            numbers={"method": fault.method, "message": str(fault)},
            share=1.0,
        )
    except Exception as error:
        # one broken check must not cost the others their answers; it is said, logged, and never a pass
        log.exception("check %s failed", checks.name_of(check))
        return Finding("not_run", why=f"the check itself failed ({type(error).__name__}: {error}); please report it")


def _missing(what: str) -> Finding:
    return Finding(
        "not_run",
        why=f"the subject does not provide {what}",
        next_step=f"Provide {what} to have this checked.",
    )
