"""A puzzle's denoiser behind the contract of every model: a board as text goes in, a filled board comes out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unmask.core import distributed
from unmask.core.errors import UsageError
from unmask.core.model import Diagnosable, EvaluationRequest, Model, Output, SamplingRequest
from unmask.core.precision import fastest
from unmask.core.sampling_config import SamplingConfig
from unmask.data.prose import prompts
from unmask.data.puzzles import Puzzle, PuzzleBatch
from unmask.decoding import DecodingPlan, Trace, generate
from unmask.evaluation.boards import BoardScores, score_boards
from unmask.families.puzzle.network import PuzzleCard, PuzzleDenoiser
from unmask.families.puzzle.network import save as save_network
from unmask.families.puzzle.solving import TRIES, attempt, vanilla
from unmask.search.mend import Draft, Wanted, mend
from unmask.search.plan import SearchPlan
from unmask.search.verifier import BOUNDS, named, verifier_of
from unmask.search.verifiers.rules import RulesVerifier, RulesVerifierKind

#: one cell at a time by margin, and again while the answer breaks a rule
OWN_PLAN = SamplingConfig(order="margin", steps=None, verify="rules", calls=TRIES)
#: boards that a diagnosis may look at
DIAGNOSED = 256


class PuzzleModel(Model):
    """A solver of one kind of puzzle.

    Args:
        denoiser: the network, with its puzzle.
        card: what it was trained on.
        path: where it was loaded from.
    """

    honours: ClassVar[frozenset[str]] = frozenset(
        {"order", "quota", "steps", "temperature", "sampler", "remasking", "loops", "verify", *BOUNDS}
    )
    words: ClassVar[str] = "a puzzle model, which fills in a board"
    judge: ClassVar[str | None] = None

    def __init__(self, denoiser: PuzzleDenoiser, card: PuzzleCard, path: str | None = None) -> None:
        self.denoiser, self.card, self.path = denoiser, card, path
        self.config = OWN_PLAN

    @property
    def puzzle(self) -> Puzzle:
        """The kind of puzzle."""
        return self.denoiser.puzzle

    @property
    def device(self) -> torch.device:
        return next(self.denoiser.parameters()).device

    @property
    def limit(self) -> int | None:
        return self.puzzle.length

    def read(self, texts: Sequence[str]) -> PuzzleBatch:
        """The boards that the texts describe, one a text.

        Raises:
            UsageError: naming the first that is malformed, contradicts itself, or does not settle its answer.
        """
        boards = []
        for number, text in enumerate(texts, 1):
            if not isinstance(text, str):
                raise UsageError(f"texts must be boards as text, not a {type(text).__name__}: write [board]")
            try:
                boards.append(self.puzzle.read(text))
            except UsageError as error:
                raise error if len(texts) == 1 else UsageError(f"board {number}: {error}") from error
        return joined(boards)

    def write(self, task: SamplingRequest, config: SamplingConfig) -> Output:
        task.without(self.words, "canvas", "condition", "live")
        if task.texts is None:
            raise UsageError("a puzzle model writes nothing by itself: give boards as texts")
        ruled(config, self.config)
        texts = [text for text in task.texts for _ in range(task.n or 1)]
        batch, started = self.read(texts), time.perf_counter()
        found = self.solve(batch, config, task)
        return Output(
            [self.puzzle.show(row) for row in found.x_BL],
            found.x_BL,
            found.forwards,
            self,
            prompts=texts,
            config=config,
            precision=found.precision,
            trace=Trace.join(found.traces) if found.traces else None,
            verified=found.correct_B.tolist() if config.verify else None,
            score=found.correct_B.double().tolist() if config.verify else None,
            calls=sum(found.row_calls),
            seconds=time.perf_counter() - started,
            row_calls=found.row_calls if config.verify else None,
            row_forwards=found.forwards_B.tolist() if config.verify else None,
            stopped=found.stopped if config.verify else None,
        )

    def solve(self, batch: PuzzleBatch, config: SamplingConfig, task: SamplingRequest) -> Filled:
        """Completed boards; where an answer breaks a rule and the config asks for it, tried again from the start."""
        chosen = fastest(
            self.denoiser, min(config.batch_size, len(batch)) * self.puzzle.length, self.device, config.precision
        )
        most = (config.calls or TRIES) if config.verify else 1
        mine = distributed.split_between_processes(len(batch)) if task.share else range(len(batch))
        writer = BoardWriter(self, batch, self.plan(config, task), config.batch_size, task)
        check = RulesVerifier(
            lambda x, rows: self.puzzle.correct(torch.tensor(x), batch[torch.tensor(list(rows))]).tolist()
        )
        bounds = SearchPlan(calls=most, forwards=config.forwards, seconds=config.seconds)
        with self._looped(config.loops), chosen.autocast(self.device), torch.no_grad():
            found = mend(mine, check, writer, bounds, rounds=most)
        forwards = [writer.forwards]
        if task.share:
            found, forwards = distributed.gather_object(found), distributed.gather_object(forwards)
        states = [one.path[-1].draft.state for one in found]
        return Filled(
            torch.stack([x_L for x_L, _ in states]),
            torch.tensor([one.verified for one in found]),
            torch.tensor([one.path[0].accepted for one in found]),
            torch.tensor([one.forwards for one in found]),
            sum(forwards),
            [one.calls for one in found] if config.verify else [0] * len(found),
            chosen.precision,
            [trace for _, trace in states if trace is not None],
            [one.stopped for one in found],
        )

    def evaluate(self, what: EvaluationRequest, config: SamplingConfig | None = None) -> BoardScores:
        """Solve held-out boards: new ones from the side that training leaves out, or those of ``what.data``.

        Raises:
            UsageError: a setting without effect, or a malformed board.
        """
        what = what.without(self.words, "judge", "length", "samples")
        config = ruled((self.config if config is None else config).only(self.honours, self.words), self.config)
        batch, notes = self.boards(what.data, what.column, what.texts, config.seed)
        kind = self.puzzle.held_out if what.data is None else self.puzzle
        found = self.solve(batch, config, SamplingRequest(share=what.share))
        trace = self.solve(batch[:1], config, SamplingRequest(trace=True)).traces if what.trace else []
        given = {"model": self.path or "in memory", "data": "new boards" if what.data is None else str(what.data)}
        return score_boards(
            kind,
            batch,
            found.x_BL,
            found.once_B,
            forwards=float(found.forwards_B.double().mean()),
            calls=sum(found.row_calls) / len(batch),
            trace=trace[0] if trace else None,
            about={**given, **{k: str(v) for k, v in config.to_dict().items() if k != "batch_size"}},
            notes=notes,
        )

    def boards(self, data: Any, column: str | None, count: int, seed: int) -> tuple[PuzzleBatch, tuple[str, ...]]:
        """Boards to evaluate on, and notes about them for the reader.

        Args:
            data: boards as texts, a file of them, or None for new ones from the side that training leaves out.
            column: the column of the file. count: how many at most. seed: names the new ones.
        """
        if count < 1:
            raise UsageError(f"texts={count} must be at least 1")
        if data is None:
            if column is not None:
                raise UsageError(f"column={column!r} goes with data=: new boards have none")
            sides = self.puzzle.held_out == self.puzzle or getattr(self.puzzle, "side", "train") == "any"
            notes = ("Training drew from all boards, so that it may have seen one of these.",) if sides else ()
            return self.puzzle.held_out.sample(count, np.random.default_rng([seed, 1])), notes
        texts = prompts(data, column) if isinstance(data, (str, Path)) else list(data)
        return self.read(texts[:count]), ()

    def subject(
        self,
        data: Any = None,
        *,
        column: str | None = None,
        length: int | None = None,
        config: SamplingConfig | None = None,
    ) -> Diagnosable:
        from unmask.families.puzzle.subject import PuzzleSubject

        if length is not None:
            raise UsageError(f"length={length} has no effect on {self.words}: a board is as long as it is")
        config = (self.config if config is None else config).only(
            self.honours - {"loops", "forwards", "seconds"}, "a diagnosis of boards"
        )
        held_out, notes = self.boards(data, column, DIAGNOSED, 0)
        train = None if data is not None else self.puzzle.sample(DIAGNOSED, np.random.default_rng([0, 2]))
        subject = PuzzleSubject(
            self.denoiser,
            self.card,
            held_out,
            train,
            plan=self.plan(config, SamplingRequest()),
            path=self.path,
            notes=notes,
        )
        subject.plan_words = str(SamplingConfig.of(dict.fromkeys(("verify", *BOUNDS)), config))
        return subject

    def plan(self, config: SamplingConfig, task: SamplingRequest) -> DecodingPlan:
        """The decoder's plan of a config; ``order="vanilla"`` unmasks at random places in 24 steps."""
        steps = None if config.steps == "auto" else config.steps
        temperature = config.temperature or 0.0
        if config.order == "vanilla":
            return replace(vanilla(steps or 24, temperature), seed=config.seed)
        quota = config.quota or ("one" if steps is None else "linear")
        own = config.sampler != "maskgit"
        return DecodingPlan(
            order=config.order,
            quota=None if own else quota,
            steps=steps,
            temperature=temperature,
            sampler=config.sampler,
            remasking=config.remasking,
            seed=config.seed,
        )

    @contextmanager
    def _looped(self, times: int | None) -> Iterator[None]:
        trained = self.denoiser.net.config.loops
        if times is not None:
            self.denoiser.loops(times)
        try:
            yield
        finally:
            self.denoiser.loops(trained)

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> Path:
        written = save_network(self.denoiser, self.card, folder, dtype)
        if self.config != OWN_PLAN:
            self.config.save(written)
        return written

    def export(self, folder: str | Path, dtype: torch.dtype | None = None) -> Path:
        raise UsageError(
            f"{self.words} is not exported: what its cells have to do with each other is read from the board by "
            "unmask's own code; save() writes a folder that unmask.load reads"
        )


@dataclass(frozen=True)
class Filled:
    """Completed boards with their cost.

    Attributes:
        x_BL: the canvases. correct_B: whether each obeys every rule. once_B: whether its first attempt did.
        forwards_B: body passes each board took part in; forwards: passes, of all boards together.
        row_calls: answers of each board that were checked. precision: what the network ran in.
        traces: one a board, where asked for. stopped: why each ended.
    """

    x_BL: Tensor
    correct_B: Tensor
    once_B: Tensor
    forwards_B: Tensor
    forwards: int
    row_calls: list[int]
    precision: str
    traces: list[Trace]
    stopped: list[str]


class BoardWriter:
    """Boards as :mod:`unmask.search.mend` has them written: each time from the start.

    Args:
        model, batch: the solver and the boards; their indices are the rows' numbers.
        plan: of the first attempt; later ones have noise on the order.
        size: boards at a time.
        task: says what is traced, and who is called.

    Attributes:
        forwards: passes through the network, each over all boards of a batch.
    """

    def __init__(
        self, model: PuzzleModel, batch: PuzzleBatch, plan: DecodingPlan, size: int, task: SamplingRequest
    ) -> None:
        self.model, self.batch, self.plan, self.size, self.task = model, batch, plan, size, task
        self.forwards = 0
        # an order without chance writes the same answer again
        self.patience = 10**9 if noisy(attempt(plan, 1)) else 1

    def write(self, wanted: Sequence[Wanted]) -> list[tuple[list[Draft], int]]:
        """Boards filled in, with the passes that each took part in."""
        found: list[tuple[list[Draft], int]] = []
        kept = ("full" if self.task.trace == "full" else "committed") if self.task.trace else None
        for start in range(0, len(wanted), self.size):
            part = torch.tensor([one.row for one in wanted[start : start + self.size]])
            out = generate(
                self.model.denoiser,
                self.batch[part].question_BL.to(self.model.device),
                attempt(self.plan, wanted[start].round),  # all boards that are left are at the same attempt
                row_ids_B=part.to(self.model.device),
                trace=kept,  # type: ignore[arg-type]
                callback=self.task.callback,
            )
            self.forwards += out.forwards
            for k, (x_L, passes) in enumerate(zip(out.sequences.cpu(), out.forwards_B.tolist(), strict=True)):
                trace = None if out.trace is None else out.trace.select([k])
                text = " ".join(map(str, x_L.tolist()))
                found.append(([Draft(text, (x_L, trace), "attempt")], passes))
        return found


def ruled(config: SamplingConfig, own: SamplingConfig) -> SamplingConfig:
    """A config whose verifier, if there is one, knows a puzzle's rules; bounds of the model's own plan may be idle.

    Raises:
        UsageError: another verifier, or a setting without effect.
    """
    if config.verify is None:
        idle = [name for name in BOUNDS if getattr(config, name) == getattr(own, name)]
        config = SamplingConfig.of(dict.fromkeys(idle), config)
    found = verifier_of(config)
    if found is not None and not isinstance(found, RulesVerifierKind):
        raise UsageError(f"verify={named(config)!r} does not check {RulesVerifierKind.checks}: 'rules' does")
    return config


def joined(batches: Sequence[PuzzleBatch]) -> PuzzleBatch:
    """Boards of one puzzle as one batch; ranks are kept where every board has them."""
    ranks: list[Tensor] = [b.rank_BL for b in batches if b.rank_BL is not None]
    return PuzzleBatch(
        torch.cat([b.answer_BL for b in batches]),
        torch.cat([b.given_BL for b in batches]),
        torch.cat(ranks) if len(ranks) == len(batches) else None,
    )


def noisy(plan: DecodingPlan) -> bool:
    """Whether a plan is stochastic: another seed may give another answer."""
    leaf = plan.order_leaf
    return plan.temperature > 0 or "order" not in plan.sampler_leaf.uses or getattr(leaf, "noise", "none") != "none"
