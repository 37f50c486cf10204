"""From findings to a verdict: causes first, each with what follows from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from unmask.core.errors import UsageError
from unmask.core.files import write_text
from unmask.core.render import page_of, save_page, view_of
from unmask.core.versions import versions
from unmask.diagnosis.baseline import FORMAT, Baseline, Comparison
from unmask.diagnosis.check import checks
from unmask.diagnosis.finding import Finding, Status, plain, sound, worst
from unmask.diagnosis.ledger import Ledger
from unmask.diagnosis.prescription import Prescription
from unmask.diagnosis.replacement import Replacement
from unmask.diagnosis.writing import WritingReport


@dataclass(frozen=True)
class Cause:
    """A failure that no other failure explains, or what the ledger finds a badly writing model short of.

    Attributes:
        finding: what was found.
        consequences: names of failing or warning checks that it explains.
    """

    finding: Finding
    consequences: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What a diagnosis says: two statements, on what the model writes and on how it is wired.

    Attributes:
        status: the worst status of the writing, of the findings and of what became worse than a baseline; ``not_run``
            if nothing could be run.
        headline: the two statements in short.
        writing: what it writes under the user's plan, and how far off that is; None if it was not asked for.
        ledger: that distance in nats a token, taken apart; None if it was not asked for.
        causes: failures that nothing else explains, the largest first; where it writes badly and nothing fails, the
            ledger's largest line.
        findings: causes, their consequences, warnings, passes, and what was not run, in this order.
        replacements: what goes of the writing's symptoms when one ingredient is ideal (full budget).
        prescription: the best plan of a small grid, tried (full budget).
        comparison: what changed since a baseline; None without one.
        subject, budget, seed: what was diagnosed, and how.
        plan: what texts were written under, in one line; "" if the subject does not say.
        notes: what a reader has to be told of the data, one sentence each.
        forwards, seconds: rows x network calls, and wall time.
        versions: of what it was computed with.
    """

    status: Status
    headline: str
    causes: tuple[Cause, ...]
    findings: tuple[Finding, ...]
    subject: str = "model"
    budget: str = "quick"
    seed: int = 0
    forwards: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    plan: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    writing: WritingReport | None = None
    ledger: Ledger | None = None
    replacements: tuple[Replacement, ...] = ()
    prescription: Prescription | None = None
    comparison: Comparison | None = None

    @property
    def wiring(self) -> Status:
        """The worst status of the findings: how the model is wired, whatever it writes."""
        return worst([f.status for f in self.findings])

    def check(self) -> Verdict:
        """The verdict itself, for use in a test: ``unmask.audit(sampler).check()``.

        Raises:
            AssertionError: it fails; the message is the headline and what was measured of each cause.
        """
        if self.status == "fail":
            raise AssertionError(
                "\n".join([self.headline, *(f"  {c.finding.fault} ({c.finding.measured})" for c in self.causes)])
            )
        return self

    @property
    def exit_code(self) -> int:
        """0 healthy (warnings included), 1 a failing verdict or one that could run nothing."""
        return 0 if self.status in ("pass", "warn") else 1

    def finding(self, check: str) -> Finding:
        """The finding of a check.

        Raises:
            KeyError: it was not asked for.
        """
        return next(f for f in self.findings if f.check == check)

    def tree(self) -> dict[str, Any]:
        """Plain data; :meth:`to_json` and the page show the same."""
        apart = ("causes", "findings", "writing", "ledger", "comparison")
        tree = {"format": FORMAT, **{k: v for k, v in asdict(self).items() if k not in apart}}
        tree["writing"] = None if self.writing is None else self.writing.tree()
        tree["ledger"] = None if self.ledger is None else self.ledger.tree()
        tree["comparison"] = None if self.comparison is None else self.comparison.tree()
        tree["causes"] = [{"check": c.finding.check, "explains": list(c.consequences)} for c in self.causes]
        tree["findings"] = [f.tree() for f in self.findings]
        return plain(tree)  # type: ignore[no-any-return]

    def to_json(self, path: str | Path | None = None) -> str:
        """The verdict as JSON; also written to ``path``, whole or not at all."""
        text = json.dumps(self.tree(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        if path is not None:
            write_text(path, text)
        return text

    def to_html(self) -> str:
        """A self-contained page."""
        return page_of(self)

    def save(self, path: str | Path) -> Path:
        """Write the page (``.html``) or the data (``.json``).

        Raises:
            UsageError: another ending.
        """
        path = Path(path)
        if path.suffix == ".json":
            self.to_json(path)
            return path
        if path.suffix == ".html":
            return save_page(path, self.to_html())
        raise UsageError(f"a verdict is saved as .html or .json, not as {path.name!r}")

    def __rich__(self) -> Any:
        (view,) = view_of(self)
        return view


def explained_by(name: str, also: tuple[str, ...] = ()) -> set[str]:
    """Every check that a failure of ``name`` can make fail, directly or through others; and those named in ``also``."""
    found: set[str] = set()
    todo = [*_leads_to(name), *also]
    while todo:
        one = todo.pop()
        if one not in found and one != name:
            found.add(one)
            todo += _leads_to(one)
    return found


@lru_cache(maxsize=256)
def _leads_to(name: str) -> tuple[str, ...]:
    # an audit asks questions of its own, which lead to nothing else
    return checks.get(name).leads_to if name in checks.names() else ()


def judge(
    findings: Sequence[Finding],
    writing: WritingReport | None = None,
    ledger: Ledger | None = None,
    baseline: Baseline | None = None,
    **about: Any,
) -> Verdict:
    """Rank findings and say what they come to.

    A failing check is a *cause* unless another failing check can explain it (the checks' own ``leads_to``, and what a
    finding says it explains). Causes are ranked by their share: how much of what should be there is lost. What was
    measured as NaN or as infinite never passes (:func:`unmask.diagnosis.finding.sound`). A model is healthy only if its
    writing is: passing checks say that none of the faults that were looked for is there, and no more. Where it writes
    badly though nothing fails, the cause is what the ledger finds it short of. What became worse than a baseline fails.
    """
    findings = [sound(finding) for finding in findings]
    failing = [f for f in findings if f.status == "fail"]
    follows = {f.check: explained_by(f.check, f.explains) for f in failing}
    # two that can explain each other stay causes both, unless the evidence of one is its own
    owned = {f.check for f in failing if f.own}

    def explained(name: str) -> bool:
        others = [o for o in follows if name in follows[o]]
        return name not in owned and any(o in owned or o not in follows[name] for o in others)

    roots = sorted((f for f in failing if not explained(f.check)), key=lambda f: -f.share)
    troubled = {f.check for f in findings if f.status in ("fail", "warn")} - {f.check for f in roots}
    causes = tuple(Cause(f, tuple(sorted(follows[f.check] & troubled))) for f in roots)
    if writing is not None and writing.status == "fail" and not causes and ledger and ledger.cause:
        causes = (Cause(ledger.cause, ()),)
    rooted = {f.check for f in roots}
    rest = [f for f in findings if f.check not in rooted]
    order = {"fail": 0, "warn": 1, "pass": 2, "not_run": 3}
    rest.sort(key=lambda f: (order[f.status], -f.share))
    wiring = worst([f.status for f in findings])
    status = wiring if writing is None else worst([wiring, writing.status])
    headline, compared = _headline(wiring, causes, findings, writing), None
    if baseline is not None:
        compared = baseline.beside(findings, writing, None if ledger is None else ledger.total)
        status, headline = worst([status, compared.status]), f"{compared.sentence} {headline}"
    return Verdict(
        status=status,
        headline=headline,
        causes=causes,
        findings=(*roots, *rest),
        versions=versions(),
        writing=writing,
        ledger=ledger,
        comparison=compared,
        **about,
    )


def _headline(
    status: Status, causes: tuple[Cause, ...], findings: Sequence[Finding], writing: WritingReport | None
) -> str:
    """What is written first, then the wiring; "healthy" needs both."""
    wiring = _wiring(status, causes, findings)
    if writing is None:
        return wiring
    if status == "pass" and writing.status == "pass":
        ran = sum(f.status != "not_run" for f in findings)
        return f"Healthy: {writing.sentence[0].lower()}{writing.sentence[1:]} All {ran} checks that could be run pass."
    short = "" if status == "fail" or not causes else f" {causes[0].finding.fault}"
    return f"{writing.sentence} {wiring}{short}"


def _wiring(status: Status, causes: tuple[Cause, ...], findings: Sequence[Finding]) -> str:
    ran = sum(f.status != "not_run" for f in findings)
    if status == "fail":
        first, *others = causes
        more = f" {len(others)} further cause{'s' if len(others) > 1 else ''}." if others else ""
        explains = f" It explains {len(first.consequences)} other finding{'s' * (len(first.consequences) > 1)}."
        return first.finding.fault + (explains if first.consequences else "") + more
    if status == "warn":
        warned = [f for f in findings if f.status == "warn"]
        return f"Nothing fails; {len(warned)} of {ran} checks warn: " + ", ".join(f.check for f in warned) + "."
    if status == "pass":
        return f"None of the faults that {ran} checks look for was found."
    return "Nothing could be checked: the subject provides too little."
