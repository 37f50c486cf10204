"""A puzzle's denoiser behind the contract of every model: a board as text goes in, a filled board comes out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from unmask.core import distributed
from unmask.core.errors import UsageError
from unmask.core.model import Model, Output, Task
from unmask.core.precision import fastest
from unmask.core.sampling_config import SamplingConfig
from unmask.data.puzzles import Puzzle, PuzzleBatch
from unmask.decoding import DecodingPlan, Trace, generate
from unmask.families.puzzle.network import Card, PuzzleDenoiser
from unmask.families.puzzle.network import save as save_network
from unmask.families.puzzle.solving import TRIES, attempt, vanilla
from unmask.search.verifier import verifiers
from unmask.search.verifiers.rules import Rules


class PuzzleModel(Model):
    """A solver of one kind of puzzle.

    Args:
        denoiser: the network, with its puzzle.
        card: what it was trained on.
        path: where it was loaded from.
    """

    honours: ClassVar[frozenset[str]] = frozenset(
        {"order", "quota", "steps", "temperature", "sampler", "remasking", "loops", "verify", "calls"}
    )
    words: ClassVar[str] = "a puzzle model, which fills in a board"

    def __init__(self, denoiser: PuzzleDenoiser, card: Card, path: str | None = None) -> None:
        self.denoiser, self.card, self.path = denoiser, card, path
        #: one cell at a time by margin, and again while the answer breaks a rule
        self.config = SamplingConfig(order="margin", steps=None, verify="rules", calls=TRIES)

    @property
    def puzzle(self) -> Puzzle:
        """What is solved."""
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
        return joined([self.puzzle.read(text) for text in texts])

    def write(self, task: Task, config: SamplingConfig) -> Output:
        task.without(self.words, "canvas", "condition", "live")
        if task.texts is None:
            raise UsageError("a puzzle model writes nothing by itself: give boards as texts")
        if config.verify is not None and not isinstance(verifiers.make(config.verify), Rules):
            raise UsageError(f"verify={config.verify!r} does not check {Rules.checks}: 'rules' does")
        if config.verify is None and config.calls not in (None, self.config.calls):
            raise UsageError(f"calls={config.calls} has no effect without verify='rules'")
        texts = [text for text in task.texts for _ in range(task.n or 1)]
        batch, started = self.read(texts), time.perf_counter()
        chosen = fastest(
            self.denoiser, min(config.batch_size, len(batch)) * self.puzzle.length, self.device, config.precision
        )
        most = (config.calls or TRIES) if config.verify else 1
        x_BL, correct_B = batch.question_BL.clone(), torch.zeros(len(batch), dtype=torch.bool)
        traces: list[Trace | None] = [None] * len(batch)
        forwards = calls = 0
        mine = distributed.split_between_processes(len(batch)) if task.share else range(len(batch))
        left = torch.arange(mine.start, mine.stop)
        with self._looped(config.loops), chosen.autocast(self.device), torch.no_grad():
            for number in range(most):
                again = []
                plan = attempt(self.plan(config, task), number)
                for part in left.split(config.batch_size):
                    out = generate(
                        self.denoiser,
                        batch[part].question_BL.to(self.device),
                        plan,
                        row_ids_B=part.to(self.device),
                        trace=("full" if task.trace == "full" else "committed") if task.trace else None,
                        callback=task.callback,
                    )
                    found = out.sequences.cpu()
                    same_B = (found == x_BL[part]).all(1) & (number > 0)
                    x_BL[part], forwards = found, forwards + out.forwards
                    right_B = self.puzzle.correct(found, batch[part])
                    correct_B[part], calls = right_B, calls + len(part) * bool(config.verify)
                    for k, row in enumerate(part.tolist() if out.trace is not None else []):
                        traces[row] = out.trace.select([k])  # type: ignore[union-attr]
                    # an order without chance writes the same answer again
                    again.append(part[~right_B & ~(same_B & (not noisy(plan)))])
                left = torch.cat(again) if again else left[:0]
                if not len(left):
                    break
        if task.share:
            found_rows = distributed.gather_object([(x_BL[row], bool(correct_B[row]), traces[row]) for row in mine])
            x_BL = torch.stack([row for row, _, _ in found_rows])
            correct_B = torch.tensor([right for _, right, _ in found_rows])
            traces = [trace for _, _, trace in found_rows]
            forwards, calls = sum(distributed.gather_object([forwards])), sum(distributed.gather_object([calls]))
        kept = [t for t in traces if t is not None]
        return Output(
            [self.puzzle.show(row) for row in x_BL],
            x_BL,
            forwards,
            self,
            prompts=texts,
            config=config,
            precision=chosen.precision,
            trace=Trace.join(kept) if kept else None,
            verified=correct_B.tolist() if config.verify else None,
            calls=calls,
            seconds=time.perf_counter() - started,
        )

    def plan(self, config: SamplingConfig, task: Task) -> DecodingPlan:
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
        return save_network(self.denoiser, self.card, folder, dtype)


def joined(batches: Sequence[PuzzleBatch]) -> PuzzleBatch:
    """Boards of one puzzle as one batch; ranks are kept where every board has them."""
    ranks: list[Tensor] = [b.rank_BL for b in batches if b.rank_BL is not None]
    return PuzzleBatch(
        torch.cat([b.answer_BL for b in batches]),
        torch.cat([b.given_BL for b in batches]),
        torch.cat(ranks) if len(ranks) == len(batches) else None,
    )


def noisy(plan: DecodingPlan) -> bool:
    """Whether another seed may give another answer."""
    leaf = plan.order_leaf
    return plan.temperature > 0 or "order" not in plan.sampler_leaf.uses or getattr(leaf, "noise", "none") != "none"
