"""A verdict beside an earlier one of the same model: what became worse fails, what became better is said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unmask.core.errors import UsageError
from unmask.diagnosis.finding import RANK, Finding, Status, plain
from unmask.diagnosis.measure import Measure, above, below
from unmask.diagnosis.statistics import Mean, difference
from unmask.diagnosis.writing import WritingReport

#: of a verdict as JSON
FORMAT = "unmask-verdict-2"


@dataclass(frozen=True)
class Change:
    """One number or check that is surely not what it was.

    Attributes:
        what: the check or the measure.
        before, now: in words.
        worse: True for a regression.
    """

    what: str
    before: str
    now: str
    worse: bool


@dataclass(frozen=True)
class Comparison:
    """What changed since a baseline.

    Attributes:
        baseline: where the earlier verdict came from.
        changes: regressions first.
        unasked: checks that the baseline could run and this verdict could not.
    """

    baseline: str
    changes: tuple[Change, ...] = ()
    unasked: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        """``fail`` where anything became worse."""
        return "fail" if any(change.worse for change in self.changes) else "pass"

    @property
    def sentence(self) -> str:
        """What became worse and better, in short."""
        worse = [change.what for change in self.changes if change.worse]
        better = [change.what for change in self.changes if not change.worse]
        said = [f"Worse than the baseline: {', '.join(worse)}."] if worse else []
        said += [f"Better than the baseline: {', '.join(better)}."] if better else []
        return " ".join(said) or "Nothing surely changed since the baseline."

    def tree(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return plain({**asdict(self), "status": self.status, "sentence": self.sentence})  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Baseline:
    """An earlier verdict, as its JSON file has it.

    Attributes:
        place: the file.
        tree: what :meth:`unmask.diagnosis.verdict.Verdict.tree` made.
    """

    place: Path
    tree: Mapping[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> Baseline:
        """The baseline in a file.

        Raises:
            UsageError: it is no verdict, or one of another format.
        """
        path = Path(path)
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"baseline {path} cannot be read: {error.strerror}") from None
        except (UnicodeDecodeError, json.JSONDecodeError):
            raise UsageError(f"baseline {path} is not JSON; write one with `unmask diagnose --json`") from None
        found = tree.get("format") if isinstance(tree, dict) else None
        if found != FORMAT or not isinstance(tree.get("findings"), list):
            said = f"has format {found!r}" if isinstance(found, str) else "is no verdict"
            raise UsageError(f"baseline {path} {said}, and {FORMAT!r} is needed: write it again with --json")
        return cls(path, tree)

    def require(self, subject: str, budget: str) -> None:
        """Refuse what cannot be compared.

        Raises:
            UsageError: the baseline is of another model or another budget.
        """
        for what, kept, now in (("model", "subject", subject), ("budget", "budget", budget)):
            was = self.tree.get(kept)
            if was != now:
                raise UsageError(f"baseline {self.place} is of the {what} {was!r}, and this diagnosis is of {now!r}")

    def beside(self, findings: Sequence[Finding], writing: WritingReport | None, total: Mean | None) -> Comparison:
        """What changed.

        A check that failed before or fails now changed; a number changed where it moved by more than 3 standard
        errors of both, more for few texts.

        Args:
            findings, writing, total: the new verdict's; the last is the distance that its ledger accounts for.

        Raises:
            UsageError: the baseline wrote for other texts.
        """
        was = {f["check"]: f for f in self.tree["findings"]}
        now = {f.check: f for f in findings}
        changes = [
            Change(name, _said(was[name]["status"], was[name]["measured"]), _said(f.status, f.measured), _bad(f.status))
            for name, f in now.items()
            if name in was
            and "not_run" not in (f.status, was[name]["status"])
            and _bad(f.status) != _bad(was[name]["status"])
        ]
        changes += self._written(writing)
        before = (self.tree.get("ledger") or {}).get("total")
        if total is not None and before is not None:
            changes += _moved("distance in the ledger, nats a token", _mean(before), total, "lower")
        unasked = [n for n, f in now.items() if n in was and f.status == "not_run" != was[n]["status"]]
        return Comparison(str(self.place), tuple(sorted(changes, key=lambda c: not c.worse)), tuple(unasked))

    def _written(self, writing: WritingReport | None) -> Iterator[Change]:
        tree = self.tree.get("writing")
        if writing is None or tree is None:
            return
        texts = [pair["asked"] for pair in tree["pairs"]]
        if writing.pairs and texts and texts != [pair.asked for pair in writing.pairs]:
            raise UsageError(f"baseline {self.place} was written for other texts than these; give it the same data")
        was = {m["name"]: m for m in tree["measures"]}
        for m in writing.measures:
            if m.name in was:
                yield from _measure(m, was[m.name])


def _measure(now: Measure, was: Mapping[str, Any]) -> Iterator[Change]:
    if now.better != "near":
        yield from _moved(now.name, _mean(was["written"]), now.written, now.better)
    elif now.apart is not None and was["apart"] is not None:
        before, gap = _mean(was["apart"]), now.apart
        sizes = Mean(abs(before.value), before.error, before.texts), Mean(abs(gap.value), gap.error, gap.texts)
        yield from _moved(f"{now.name}, beside held-out text", *sizes, "lower")


def _moved(name: str, before: Mean, now: Mean, better: str) -> Iterator[Change]:
    gap = difference(now, before)
    up, down = above(gap) > 0, below(gap) < 0
    if up or down:
        yield Change(name, f"{before}", f"{now}", up if better == "lower" else down)


def _mean(tree: Mapping[str, Any]) -> Mean:
    # an infinite error stands in the file as text
    return Mean(float(tree["value"]), float(tree["error"]), int(tree["texts"]))


def _bad(status: str) -> bool:
    return RANK[status] >= RANK["fail"]


def _said(status: str, measured: str) -> str:
    return f"{status}: {measured}" if measured else status
