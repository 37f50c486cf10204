"""Write, check, mend, where a verifier says which characters are wrong and a model writes them anew.

The search for texts that are checked by themselves (a pattern, a grammar, equations, rules). Like
:mod:`unmask.search.loop` it knows a verifier and what writes, and nothing else of a model; all rows go on in rounds,
and what a row is asked depends on the row alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from unmask.core.verifier import Verifier
from unmask.search.loop import Ended, Rise, SearchResult
from unmask.search.plan import SearchPlan


@dataclass(frozen=True)
class Draft:
    """A text as it was written.

    Attributes:
        text: what the verifier is given.
        state: what its writer keeps of it: ids, a trace.
        source: what made it.
    """

    text: str
    state: Any
    source: str


@dataclass(eq=False)
class Attempt:
    """A draft that the verifier has seen.

    Attributes:
        draft: what was written.
        score, accepted, blame: what the verifier says of it.
        parent: what it mends, or None.
        calls: of the verifier when it was seen.
        visits: how often it was mended.
    """

    draft: Draft
    score: float
    accepted: bool
    blame: tuple[int, int] | None
    parent: Attempt | None
    calls: int
    visits: int = 0

    @property
    def text(self) -> str:
        return self.draft.text

    @property
    def source(self) -> str:
        return self.draft.source


@dataclass(frozen=True)
class Wanted:
    """What a row asks its writer for.

    Attributes:
        row: its number.
        round: how often it has asked; with the row it names the noise.
        attempt: what is to be mended; None for a whole new draft.
    """

    row: int
    round: int
    attempt: Attempt | None


class Rewriter(Protocol):
    """Writes drafts, and mends them.

    Attributes:
        patience: rounds of a row without a new text after which it ends.
    """

    patience: int

    def write(self, wanted: Sequence[Wanted]) -> list[tuple[list[Draft], int]]:
        """For each row, drafts with the rows that the network ran for them; one draft is a function of its row."""
        ...


@dataclass
class _Row:
    number: int
    seen: dict[str, Attempt] = field(default_factory=dict)
    path: list[Attempt] = field(default_factory=list)
    calls: int = 0
    forwards: int = 0
    rounds: int = 0
    idle: int = 0
    stopped: str = ""

    def wanted(self, visits: int) -> Wanted:
        """The best attempt that is not used up, else a new draft."""
        live = [a for a in self.seen.values() if a.visits < visits]
        best = max(live, key=lambda a: a.score - 1e-9 * a.calls, default=None)
        self.rounds += 1
        if best is not None:
            best.visits += 1
        return Wanted(self.number, self.rounds - 1, best)

    def new(self, drafts: Sequence[Draft], verifier: Verifier, most: int | None) -> list[Draft]:
        """The drafts that say something new, as many as may be checked."""
        found: dict[str, Draft] = {}
        for draft in drafts:
            key = verifier.key(draft.text)
            if key not in self.seen:
                found.setdefault(key, draft)
        self.idle = 0 if found else self.idle + 1
        return list(found.values())[: len(found) if most is None else max(0, most - self.calls)]

    def takes(self, key: str, attempt: Attempt) -> bool:
        """Keep an attempt; whether it is better than all before it."""
        self.seen[key] = attempt
        best = self.path[-1] if self.path else None
        rises = best is None or (attempt.accepted, attempt.score) > (best.accepted, best.score)
        if rises:
            self.path.append(attempt)
        return rises

    def why(self, plan: SearchPlan, patience: int, rounds: int | None, late: bool) -> str:
        """Why it ends now; "" while it goes on."""
        if self.path and self.path[-1].accepted:
            return "verified"
        if plan.calls is not None and self.calls >= plan.calls:
            return "calls"
        if plan.forwards is not None and self.forwards >= plan.forwards:
            return "forwards"
        if late:
            return "seconds"
        if self.idle >= patience:
            return "nothing new was proposed"
        return "calls" if rounds is not None and self.rounds >= rounds else ""

    def found(self) -> SearchResult:
        best = self.path[-1] if self.path else None
        if best is None:
            return SearchResult("", 0.0, False, self.calls, self.forwards, self.stopped, [])
        return SearchResult(
            best.text, best.score, best.accepted, self.calls, self.forwards, self.stopped, list(self.path)
        )


def mend(
    rows: Sequence[int],
    verifier: Verifier,
    writer: Rewriter,
    plan: SearchPlan,
    *,
    rounds: int | None = None,
    on_rise: Callable[[Rise], None] | None = None,
    on_end: Callable[[Ended], None] | None = None,
) -> list[SearchResult]:
    """A text for each row: drafted, checked, and written anew where the verifier says that it is wrong.

    Args:
        rows: their numbers, which name the noise.
        verifier: says how right a text is, and which characters are not.
        writer: drafts and mends.
        plan: ``calls``, ``forwards`` and ``seconds`` bound the search, ``visits`` says how often a text is mended.
        rounds: a row asks its writer at most so often; None has no bound of its own.
        on_rise, on_end: called when a row has something better, and when it has ended.
    """
    deadline = None if plan.seconds is None else time.perf_counter() + plan.seconds
    known = {number: _Row(number) for number in rows}
    live = list(known.values())
    while live:
        wanted = [row.wanted(plan.visits) for row in live]
        asked = []
        for row, one, (drafts, forwards) in zip(live, wanted, writer.write(wanted), strict=True):
            row.forwards += forwards
            asked += [(row, one.attempt, draft) for draft in row.new(drafts, verifier, plan.calls)]
        if asked:
            said = verifier.check([draft.text for *_, draft in asked], [row.number for row, *_ in asked])
            blame = said.blame_N or [None] * len(asked)
            answers = zip(asked, said.score_N, said.accepted_N, said.calls_N, blame, strict=True)
            for (row, parent, draft), score, accepted, calls, place in answers:
                row.calls += calls
                attempt = Attempt(draft, score, accepted, place, parent, row.calls)
                if row.takes(verifier.key(draft.text), attempt) and on_rise is not None:
                    on_rise(Rise(row.number, attempt, row.calls))
        late = deadline is not None and time.perf_counter() > deadline
        for row in live:
            row.stopped = row.why(plan, writer.patience, rounds, late)
            if row.stopped and on_end is not None:
                on_end(Ended(row.number, row.found()))
        live = [row for row in live if not row.stopped]
    return [known[number].found() for number in rows]
