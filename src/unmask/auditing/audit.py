"""One call from a sampler to a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from unmask.auditing.check import Bench, audit_checks
from unmask.auditing.exact import ExactLaw
from unmask.auditing.laws.chain import Chain
from unmask.auditing.laws.hidden_chain import HiddenChain
from unmask.auditing.laws.joint import Joint
from unmask.auditing.subject import Sampled
from unmask.diagnosis.check import checks, run_check
from unmask.diagnosis.context import BUDGETS
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.verdict import Verdict, judge

LAWS: dict[str, Callable[[], ExactLaw]] = {"chain": Chain, "hidden_chain": HiddenChain, "joint": Joint}
#: without semantic vectors
PLAIN: dict[str, Callable[[], ExactLaw]] = {**LAWS, "joint": partial(Joint, latents=0)}
#: the diagnosis's checks that are about a sampler, and the law that each is asked on
SHARED = {
    "traces": "chain", "seeds": "chain", "replay": "chain", "draw_calibration": "chain", "schedule": "chain",
    "order": "chain", "guidance": "joint",
}  # fmt: skip
#: questions whose answer is bad wherever a single step is
FOLLOWS = ("one_at_a_time", "budget", "prompts")


def audit(
    make: Callable[[ExactLaw], Sampled],
    *,
    name: str,
    seed: int = 0,
    laws: Mapping[str, Callable[[], ExactLaw]] = LAWS,
    say: Callable[[str], None] | None = None,
) -> Verdict:
    """What a sampler writes with perfect denoisers, as a verdict.

    Args:
        make: puts the sampler on a law.
        name: what the report calls it.
        seed: of everything drawn.
        laws: of :data:`LAWS`; :data:`PLAIN` for a sampler that takes no semantic vectors.
        say: called with each check's name.

    Returns:
        The verdict; a check that is asked on several laws has one finding, that of the law where it did worst.
    """
    started = time.perf_counter()
    benches = {law: Bench(make, made(), BUDGETS["quick"], seed) for law, made in laws.items()}
    findings = []
    for key in audit_checks:
        check = audit_checks.make(key)
        asked = []
        for law in check.laws:
            if say is not None:
                say(f"{key} on {law}")
            asked.append((law, run_check(check, benches[law])))
        findings.append(_worst(key, asked))
    for key, law in SHARED.items():
        if say is not None:
            say(f"{key} on {law}")
        found = run_check(checks.make(key), benches[law])
        # what a sampler does wrong at a step explains that its texts do not follow the law
        findings.append(replace(found, explains=(*found.explains, *FOLLOWS)))
    return judge(
        findings,
        subject=name,
        notes=(),
        plan=next(iter(benches.values())).sampled.plan_words,
        budget="audit",
        seed=seed,
        forwards=sum(bench.subject.forwards for bench in benches.values()),
        seconds=round(time.perf_counter() - started, 2),
    )


def _worst(key: str, asked: list[tuple[str, Finding]]) -> Finding:
    """One finding for several laws: the worst, with what was measured on each."""
    rank = {"fail": 3, "warn": 2, "pass": 1, "not_run": 0}
    law, worst = max(asked, key=lambda pair: (rank[pair[1].status], pair[1].share))
    said = "; ".join(f"{name}: {found.measured}" for name, found in asked if found.measured)
    numbers = {name: found.numbers for name, found in asked} if len(asked) > 1 else worst.numbers
    return replace(
        worst,
        check=key,
        measured=said if len(asked) > 1 else worst.measured,
        numbers=numbers,
        forwards=sum(found.forwards for _, found in asked),
        seconds=round(sum(found.seconds for _, found in asked), 3),
    )
