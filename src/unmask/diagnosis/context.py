"""What the checks measure with: seeded states, scores, samples; shared measurements are made once.

Every cost here depends on the budget, never on the size of the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.core.random import Stream, generator, uniform
from unmask.core.sampling import categorical
from unmask.diagnosis.baselines import Baselines, in_text
from unmask.diagnosis.statistics import tolerance
from unmask.diagnosis.subject import Batch, Generated, NotProvided, State, Subject, TrainingView
from unmask.diagnosis.validated_subject import Guarded
from unmask.metrics.length import until_eos

#: logits asked for at once
CHUNK_NUMBERS = 2**23
#: training rows that are looked through where the network is not asked
TRAIN_ROWS = 20_000
#: rows written where a setting of the sampler is tried
TRIED_ROWS = 8


@dataclass(frozen=True)
class DiagnosisBudget:
    """How much is measured.

    Attributes:
        name: quick or full.
        rows: held-out texts scored at each state.
        samples: texts written.
        repeats: seeds for what is averaged over seeds.
        ratios: masked fractions at which the loss is measured.
        positions: positions scored in a text at most (a random choice of longer ones).
        fit: texts that the baselines are counted on.
        rollout_steps: steps of our own plain sampler at most.
    """

    name: str
    rows: int
    samples: int
    repeats: int
    ratios: tuple[float, ...]
    positions: int = 64
    fit: int = 2000
    rollout_steps: int = 32


BUDGETS = {
    "quick": DiagnosisBudget("quick", rows=48, samples=32, repeats=4, ratios=(0.1, 0.3, 0.5, 0.7, 0.9, 1.0)),
    "full": DiagnosisBudget(
        "full",
        rows=192,
        samples=128,
        repeats=12,
        ratios=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        rollout_steps=256,
    ),
}


@dataclass(frozen=True)
class TokenScores:
    """Predictions at asked positions, row-major.

    Attributes:
        ce_N: nats of the target. entropy_N: nats of the prediction. hit_N: is the most probable id the target?
        row_N, col_N: where. target_N: the ids scored against.
    """

    ce_N: Tensor
    entropy_N: Tensor
    hit_N: Tensor
    row_N: Tensor
    col_N: Tensor
    target_N: Tensor


class CheckContext:
    """A subject on the bench.

    Args:
        subject: what is diagnosed.
        budget: how much to measure.
        seed: of everything drawn.
    """

    def __init__(self, subject: Subject, budget: DiagnosisBudget, seed: int = 0) -> None:
        self.subject = subject if isinstance(subject, Guarded) else Guarded(subject)
        self.budget, self.seed = budget, seed
        self._kept: dict[Any, Any] = {}

    def once(self, key: Any, make: Any) -> Any:
        """``make()`` the first time, the same object afterwards."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    # -- data -------------------------------------------------------------------------------------------------------
    @cached_property
    def batch(self) -> Batch:
        """The held-out rows that are scored."""
        return self._held(self.budget.rows)

    @cached_property
    def prompts(self) -> Batch:
        """The held-out rows whose conditions (or starts) are written from."""
        return self._held(self.budget.samples)

    def _held(self, rows: int) -> Batch:
        batch: Batch = self.once(("held", rows), lambda: self.subject.data(rows))
        if len(batch) < 2:
            raise UsageError(f"a diagnosis needs at least 2 held-out texts, the subject has {len(batch)}")
        return batch

    @cached_property
    def fit_ids(self) -> Tensor:
        """Ids for counting, none of which is scored: training rows, or held-out rows behind the scored ones."""
        try:
            return self.subject.data(self.budget.fit, "train").ids_BL
        except NotProvided:
            skip = max(self.budget.rows, self.budget.samples)
            rest = self.subject.data(skip + self.budget.fit).ids_BL[skip:]
            if len(rest) < 2:
                raise NotProvided("data(n, 'train'), or more held-out texts to count words in") from None
            return rest

    @cached_property
    def train_ids(self) -> Tensor:
        """Ids of up to 20,000 training rows.

        Raises:
            NotProvided: the subject has none.
        """
        try:
            return self.subject.data(TRAIN_ROWS, "train").ids_BL
        except NotProvided:
            raise NotProvided("data(n, 'train')") from None

    @cached_property
    def counts(self) -> Baselines:
        """Unigrams and bigrams of :attr:`fit_ids`."""
        s = self.subject
        return Baselines.fit(self.fit_ids, s.vocab_size, s.eos_id, s.pad_id)

    def in_text(self, ids_BL: Tensor) -> Tensor:
        """True at the tokens of each text, EOS included."""
        return in_text(ids_BL, self.subject.eos_id, self.subject.pad_id)

    def exists(self, ids_BL: Tensor) -> Tensor:
        """True at the positions that there are: all, or the text's own for a subject that draws its length first."""
        s = self.subject
        return torch.ones_like(ids_BL, dtype=torch.bool) if s.writes_padding or s.pad_id is None else ids_BL != s.pad_id

    def blank(self, ids_BL: Tensor) -> Tensor:
        """The canvas of these rows with everything masked."""
        return ids_BL.masked_fill(self.exists(ids_BL), self.mask_id)

    def masked_share(self, x_BL: Tensor) -> Tensor:
        """Share of each row's positions that are masked [B], fp64, on the CPU."""
        return ((x_BL == self.mask_id).sum(1) / self.exists(x_BL).sum(1).double()).cpu()

    def sequences(self, ids_BL: Tensor, first: int = 0) -> list[list[Any]]:
        """Each text's ids from a column on, without its end and padding."""
        s = self.subject
        eos = s.eos_id
        return [[i for i in row if i != eos] for row in until_eos(ids_BL[:, first:].cpu(), eos, s.pad_id)]

    def spelled(self, sequences: Sequence[Sequence[Any]]) -> list[str]:
        """Sequences of ids as texts; ids with spaces between where the subject has no tokenizer."""
        tokenizer = self.subject.tokenizer
        if tokenizer is None:
            return [" ".join(str(i) for i in x) for x in sequences]
        return [str(tokenizer.decode(list(x))).strip() for x in sequences]

    def view(self, seed: int) -> TrainingView:
        """What training makes of the scored rows under a seed; asked for once."""
        return self.once(("view", seed), lambda: self.subject.training_view(self.batch, seed))  # type: ignore[no-any-return]

    # -- states -----------------------------------------------------------------------------------------------------
    @property
    def mask_id(self) -> int:
        """The mask id.

        Raises:
            NotProvided: the subject has none.
        """
        if self.subject.mask_id is None:
            raise NotProvided("mask_id")
        return self.subject.mask_id

    def hide(self, ids_BL: Tensor, ratio: float, name: int = 0) -> tuple[Tensor, Tensor]:
        """A masked state of the canvas and what it hides: in each row the same share of positions, at random.

        At least one position *of the text* is hidden, so that every row has something to score.
        """
        B, L = ids_BL.shape
        noise_BL = torch.rand(B, L, generator=generator(self.seed, Stream.CORRUPT, round(ratio * 1e6), name))
        exists_BL = self.exists(ids_BL).to(noise_BL.device)
        length_B = exists_BL.sum(1)
        count_B = (ratio * length_B.double()).round().long().clamp(min=1).minimum(length_B)
        noise_BL = noise_BL.masked_fill(~exists_BL, 3.0)
        inside_BL = self.in_text(ids_BL)
        lucky_B = torch.where(inside_BL, noise_BL, 2.0).argmin(1)
        noise_BL[torch.arange(B), lucky_B] = -1.0
        hidden_BL = noise_BL.argsort(1).argsort(1) < count_B[:, None]
        return ids_BL.masked_fill(hidden_BL.to(ids_BL.device), self.mask_id), hidden_BL.to(ids_BL.device)

    def some(self, at_BL: Tensor) -> Tensor:
        """At most ``budget.positions`` of the marked positions of each row."""
        noise_BL = torch.rand(at_BL.shape, generator=generator(self.seed, Stream.ORDER)).to(at_BL.device)
        rank_BL = noise_BL.masked_fill(~at_BL, 2.0).argsort(1).argsort(1)
        return at_BL & (rank_BL < self.budget.positions)

    # -- answers ----------------------------------------------------------------------------------------------------
    def answers(self, state: State) -> Iterator[tuple[int, int, Tensor]]:
        """(first row, last row, logits) of a state in chunks that fit in memory."""
        B = len(state.x_BL)
        per_row = max(int(state.at_BL.sum(1).max()), 1) * self.subject.vocab_size
        step = max(1, min(64, CHUNK_NUMBERS // per_row))
        for first in range(0, B, step):
            part = state.rows(first, min(first + step, B))
            if bool(part.at_BL.any()):
                yield first, first + len(part.x_BL), self.subject.predict(part)

    def logits(self, state: State) -> Tensor:
        """All logits of a (small) state."""
        return torch.cat([logits for _, _, logits in self.answers(state)])

    def score(self, state: State, target_BL: Tensor) -> TokenScores:
        """Cross-entropy, entropy and hits at ``state.at_BL``."""
        parts = []
        for first, last, logits_NV in self.answers(state):
            parts.append(read(logits_NV, target_BL[first:last][state.at_BL[first:last]]))
        row_N, col_N = state.at_BL.nonzero(as_tuple=True)
        ce_N, entropy_N, hit_N = (torch.cat(column) for column in zip(*parts, strict=True))
        return TokenScores(ce_N, entropy_N, hit_N, row_N, col_N, target_BL[state.at_BL])

    def state(self, ratio: float, batch: Batch | None = None, cond: Condition | None = None, name: int = 0) -> State:
        """A masked state of held-out rows that asks about (some of) the hidden positions of the text."""
        batch = self.batch if batch is None else batch
        x_BL, hidden_BL = self.hide(batch.ids_BL, ratio, name)
        at_BL = self.some(hidden_BL & self.in_text(batch.ids_BL))
        return State(x_BL, at_BL, batch.cond if cond is None else cond)

    def at_ratio(self, ratio: float) -> TokenScores:
        """Scores of the held-out rows at a masked fraction; measured once."""
        state = self.state(ratio)
        return self.once(("ratio", ratio), lambda: self.score(state, self.batch.ids_BL))  # type: ignore[no-any-return]

    def next_token(self) -> TokenScores:
        """Scores of a causal subject at (some of) the positions after the first; measured once."""
        ids_BL = self.batch.ids_BL
        at_BL = self.in_text(ids_BL)
        at_BL[:, 0] = False
        state = State(ids_BL, self.some(at_BL), self.batch.cond)
        return self.once("next", lambda: self.score(state, ids_BL))  # type: ignore[no-any-return]

    def usual_state(self) -> State:
        """One state of the kind that the subject meets: half hidden, or a causal subject's whole rows."""
        if self.subject.kind == "masked":
            return self.state(0.5)
        at_BL = self.in_text(self.batch.ids_BL)
        at_BL[:, 0] = False
        return State(self.batch.ids_BL, self.some(at_BL), self.batch.cond)

    def noise_floor(self) -> float:
        """A/A: the share of probability that moves when the very same state is asked about twice (mean over rows)."""

        def measure() -> float:
            state = self.usual_state().rows(0, 16)
            return float(moved(self.logits(state), self.logits(state)).mean())

        return self.once("floor", measure)  # type: ignore[no-any-return]

    def rounding(self) -> float:
        """What rounding may move, from the dtype of the logits; at least fp32's, in which losses are taken."""

        def measure() -> float:
            dtype = self.logits(self.usual_state().rows(0, 1)).dtype
            return max(tolerance(dtype), tolerance(torch.float32))

        return self.once("rounding", measure)  # type: ignore[no-any-return]

    # -- texts ------------------------------------------------------------------------------------------------------
    def samples(self) -> Generated:
        """What the subject's own sampler writes; once."""
        return self.once("samples", lambda: self.subject.generate(self.prompts, self.seed))  # type: ignore[no-any-return]

    def try_setting(self, name: str, value: Any) -> Generated:
        """A few texts under one setting, the largest number of steps and the highest temperature of those to try.

        That is enough to see what the setting does: steps to try are few, and values are drawn.
        """
        tried = self.subject.settings
        settings = {other: max(tried[other]) for other in ("steps", "temperature") if other in tried} | {name: value}
        return self.subject.generate(self.prompts.rows(0, TRIED_ROWS), self.seed, **settings)

    def tried(self, name: str, value: Any) -> Generated:
        """:meth:`try_setting`, once."""
        return self.once(("tried", name, value), lambda: self.try_setting(name, value))  # type: ignore[no-any-return]

    def rollout(self, batch: Batch) -> Tensor:
        """Texts written by the plainest sampler there is, through ``predict``: in random order at temperature 1, one
        position at a time (as few as possible where a canvas is longer than ``budget.rollout_steps``).

        Whatever is wrong with these is wrong with the model, not with the subject's sampler.
        """
        x_BL, exists_BL = self.blank(batch.ids_BL), self.exists(batch.ids_BL)
        B, L = x_BL.shape
        row_B1 = torch.arange(B)[:, None]
        noise_BL = uniform(self.seed, row_B1, torch.arange(L), Stream.ORDER).to(x_BL.device)
        rank_BL = noise_BL.masked_fill(~exists_BL, 2.0).argsort(1).argsort(1)
        length_B1 = exists_BL.sum(1, keepdim=True)
        steps = min(int(length_B1.max()), self.budget.rollout_steps)
        for step in range(steps):
            at_BL = (rank_BL >= step * length_B1 // steps) & (rank_BL < (step + 1) * length_B1 // steps)
            row_N, col_N = at_BL.nonzero(as_tuple=True)
            logits_NV = self.logits(State(x_BL, at_BL, batch.cond))
            x_BL[at_BL] = categorical(logits_NV, uniform(self.seed, row_N, col_N, Stream.VALUE))
        return x_BL


def read(logits_NV: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy [N] and entropy [N] in nats, and whether the most probable id is the target [N]; on the CPU."""
    logp_NV = logits_NV.float().log_softmax(-1)
    ce_N = -logp_NV.gather(-1, target_N[:, None]).squeeze(-1)
    entropy_N = -(logp_NV.exp() * logp_NV.clamp(min=-1e4)).sum(-1)
    return ce_N.double().cpu(), entropy_N.double().cpu(), (logits_NV.argmax(-1) == target_N).cpu()


def moved(one_NV: Tensor, other_NV: Tensor) -> Tensor:
    """Share of probability [N] that must be moved to turn one prediction into the other (total variation)."""
    return 0.5 * (one_NV.double().softmax(-1) - other_NV.double().softmax(-1)).abs().sum(-1).cpu()
