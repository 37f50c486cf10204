"""Write, check, mend: many searches at once, each as if it were alone, their questions answered in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from unmask.core.verifier import Verifier
from unmask.search.climb import Climb, FillRequest, LogProbRequest, Request, VerifyRequest, WordForms
from unmask.search.corrector import Corrector
from unmask.search.lexicon import Lexicon
from unmask.search.plan import SearchPlan
from unmask.search.proposal import proposals
from unmask.search.writer import MaskFiller

#: searches that are under way at a time
AT_ONCE = 64


@dataclass(frozen=True)
class SearchResult:
    """What a search ends with.

    Attributes:
        text: the best text; the accepted one where there is one.
        score: the verifier's.
        verified: whether the verifier accepted it.
        calls, forwards: what was spent.
        stopped: why it ended: ``verified``, or what ran out.
        path: every hypothesis that was better than all before it: its text, score, source, parent and calls.
    """

    text: str
    score: float
    verified: bool
    calls: int
    forwards: int
    stopped: str
    path: Sequence[Any]


@dataclass(frozen=True)
class Rise:
    """A search has a better hypothesis: what a callback gets."""

    row: int
    hypothesis: Any
    calls: int


@dataclass(frozen=True)
class Ended:
    """A row is done: what a callback gets."""

    row: int
    found: SearchResult


def search(
    rows: Sequence[int],
    targets_BZ: Tensor | None,
    verifier: Verifier,
    writer: MaskFiller,
    lexicon: Lexicon,
    plan: SearchPlan,
    *,
    lengths_BL: Tensor | None = None,
    corrector: Corrector | None = None,
    starts: Sequence[Sequence[str]] | None = None,
    on_rise: Callable[[Rise], None] | None = None,
    on_end: Callable[[int, SearchResult], None] | None = None,
) -> list[SearchResult]:
    """A text for each row, by search against a verifier.

    Args:
        rows: numbers of the rows; they name the noise, and the verifier's targets.
        targets_BZ: the vector of each row, or None.
        verifier: says how right a text is.
        writer: the denoiser.
        lexicon: of the model's training texts.
        plan: how wide, how long, with which moves.
        lengths_BL: log probabilities of 1..L tokens, where the model knows them.
        corrector: proposes whole corrected texts.
        starts: texts that each search begins with, beside its drafts.
        on_rise, on_end: called when a search has found something better, and when it has ended.
    """
    names = plan.proposals if plan.proposals is not None else proposals.names()
    sources = {name: proposals.make(name) for name in names}
    forms = WordForms.of(lexicon, writer)
    deadline = None if plan.seconds is None else time.perf_counter() + plan.seconds
    waiting = list(range(len(rows)))[::-1]
    under_way: dict[int, _Run] = {}
    found: dict[int, SearchResult] = {}
    while waiting or under_way:
        while waiting and len(under_way) < AT_ONCE:
            at = waiting.pop()
            climb = Climb(
                rows[at],
                None if targets_BZ is None else targets_BZ[at],
                lexicon,
                forms,
                writer,
                sources,
                plan,
                verifier.key,
                None if lengths_BL is None else lengths_BL[at],
                corrector,
                () if starts is None else starts[at],
            )
            under_way[at] = _Run(climb)
            under_way[at].go(None)
        _answer([run for run in under_way.values() if run.request is not None], verifier, writer)
        late = deadline is not None and time.perf_counter() > deadline
        for at, run in list(under_way.items()):
            known = len(run.climb.path)
            if not late and run.request is not None:
                run.go(run.answer)
            if on_rise is not None:
                for h in run.climb.path[known:]:
                    on_rise(Rise(rows[at], h, run.climb.calls))
            if late or run.request is None:
                if late and not run.climb.stopped:
                    run.climb.stopped = "seconds"
                found[at] = run.ended()
                del under_way[at]
                if on_end is not None:
                    on_end(at, found[at])
        if late and waiting:
            found |= {at: SearchResult("", 0.0, False, 0, 0, "seconds", []) for at in waiting}
            break
    return [found[at] for at in range(len(rows))]


class _Run:
    """A search with the request that it waits for."""

    def __init__(self, climb: Climb) -> None:
        self.climb, self.request, self.answer = climb, None, None
        self._steps = climb.run()

    request: Request | None
    answer: Any

    def go(self, answer: Any) -> None:
        """Hand it the answer to its request, and take the next one."""
        try:
            self.request = self._steps.send(answer)
        except StopIteration:
            self.request = None

    def ended(self) -> SearchResult:
        climb = self.climb
        best = climb.accepted or (climb.path[-1] if climb.path else None)
        if best is None:
            return SearchResult("", 0.0, False, climb.calls, climb.forwards, climb.stopped, [])
        return SearchResult(
            best.text, best.score, best.accepted, climb.calls, climb.forwards, climb.stopped, list(climb.path)
        )


def _answer(runs: Sequence[_Run], verifier: Verifier, writer: MaskFiller) -> None:
    checks = [run for run in runs if isinstance(run.request, VerifyRequest)]
    if checks:
        texts = [text for run in checks for text in run.request.texts]  # type: ignore[union-attr]
        whose = [run.climb.row for run in checks for _ in run.request.texts]  # type: ignore[union-attr]
        said = verifier.check(texts, whose)
        vectors = said.vector_NZ if said.vector_NZ is not None else [None] * len(texts)
        start = 0
        for run in checks:
            end = start + len(run.request.texts)  # type: ignore[union-attr]
            run.answer = list(zip(said.score_N[start:end], said.accepted_N[start:end], vectors[start:end], strict=True))
            run.climb.calls += sum(said.calls_N[start:end])
            start = end
    asks = [run for run in runs if isinstance(run.request, LogProbRequest)]
    for run, log_p in zip(asks, writer.log_probs([run.request.rows for run in asks]), strict=True):  # type: ignore[union-attr]
        run.answer = log_p
        run.climb.forwards += len(run.request.rows.ids)  # type: ignore[union-attr]
    fills = [run for run in runs if isinstance(run.request, FillRequest)]
    for run, (ids, forwards) in zip(fills, writer.fill([run.request.rows for run in fills]), strict=True):  # type: ignore[union-attr]
        run.answer = ids
        run.climb.forwards += forwards
