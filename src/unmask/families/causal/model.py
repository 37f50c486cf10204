"""A causal language model behind the contract of every model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar

import torch

from unmask.core import distributed
from unmask.core.errors import UsageError
from unmask.core.model import (
    ContinuationScore,
    Diagnosable,
    EvaluationRequest,
    EvaluationResult,
    Model,
    Output,
    SamplingRequest,
)
from unmask.core.precision import fastest
from unmask.core.sampling_config import SamplingConfig
from unmask.core.unknown import unknown_tokens, warn_of_unknown
from unmask.families.causal.continuations import scored
from unmask.families.causal.generation import CausalGenerationConfig, write_on
from unmask.models.causal import CausalModel
from unmask.models.causal_prompts import pad_id, positions, prompt_ids


class CausalText(CausalModel, Model):
    """A causal language model behind the contract of every model.

    Of a folder's ``generation_config.json`` only the ids that end a text are taken over. A row's noise depends on the
    seed, the row and the position only, so a batch draws what its rows draw alone.
    """

    honours: ClassVar[frozenset[str]] = frozenset({"temperature", "top_k", "top_p", "repetition_penalty", "length"})
    words: ClassVar[str] = "a causal model, which writes left to right"
    traces: ClassVar[bool] = False
    why_no_trace: ClassVar[str] = "a causal model has no trace: it writes left to right"

    @property
    def limit(self) -> int | None:
        return positions(self)

    def write(self, task: SamplingRequest, config: SamplingConfig) -> Output:
        task = task.without(self.words, "canvas", "condition", "callback", "live", "trace")
        started = time.perf_counter()
        given = replace(config, temperature=task.temperature(config.temperature), length=config.length or 64)
        writing = _writing(given)
        prompts = [text for text in ([""] if task.texts is None else task.texts) for _ in range(task.n or 1)]
        plain = [prompt for prompt in prompts if isinstance(prompt, str)]
        warn_of_unknown(unknown_tokens(self.tokenizer, plain), self.name, "prompts")
        ids = [prompt_ids(self, text) for text in prompts]
        parts, forwards, size = [], 0, config.batch_size
        mine = distributed.split_between_processes(len(ids)) if task.share else range(len(ids))
        # weights that are in bf16 already stay so
        chosen = fastest(self.model, min(size, len(ids)) * max(map(len, ids)), self.device, config.precision)
        chosen = distributed.broadcast_object(chosen) if task.share else chosen
        for first in range(mine.start, mine.stop, size):
            with chosen.autocast(self.device):
                rows = write_on(self, ids[first : min(first + size, mine.stop)], writing, first)
            parts += list(rows)
            forwards += rows.shape[1]
        if task.share:
            parts, forwards = distributed.gather_object(parts), sum(distributed.gather_object([forwards]))
        sequences = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=pad_id(self))
        return Output(
            self.tokenizer.batch_decode(sequences, skip_special_tokens=True),
            sequences,
            forwards,
            self,
            prompts=prompts,
            config=given,
            precision=chosen.precision,
            seconds=time.perf_counter() - started,
        )

    def fill(
        self,
        before: Sequence[Any],
        after: Sequence[str],
        lengths: Sequence[int],
        config: SamplingConfig | None = None,
        *,
        rows: Sequence[int] | None = None,
        cut: bool = False,
    ) -> list[str | None]:
        config = (self.config if config is None else config).only(self.honours, self.words)
        if any(after):
            raise UsageError(
                f"there are holes to fill, and a causal model ({self.name}) does not see what stands behind one: "
                "take a masked model, or a task with answers (gsm_symbolic)"
            )
        names = range(len(before)) if rows is None else rows
        given = replace(config, temperature=config.temperature or 0.0)
        chosen = fastest(self.model, 1, self.device, "fp32" if config.precision == "auto" else config.precision)
        found: list[str | None] = []
        for prompt, length, row in zip(before, lengths, names, strict=True):
            writing, ids = _writing(replace(given, length=length)), prompt_ids(self, prompt)
            if self.limit is not None and len(ids) + length > self.limit:
                if not cut:
                    found.append(None)
                    continue
                writing = replace(writing, length=min(length, max(1, self.limit // 2)))
                ids = ids[max(0, len(ids) + writing.length - self.limit) :]
            with chosen.autocast(self.device):
                wrote = write_on(self, [ids], writing, first_row=row)[0]
            found.append(str(self.tokenizer.decode(wrote, skip_special_tokens=True)))
        return found

    def log_likelihood(
        self,
        contexts: Sequence[str],
        continuations: Sequence[str],
        *,
        samples: int | None = None,
        greedy: bool = True,
        batch_size: int = 32,
        seed: int = 0,
    ) -> list[ContinuationScore]:
        if samples is not None:
            raise UsageError(f"samples={samples} has no effect on {self.words}: its log-likelihood is exact")
        return scored(self, contexts, continuations, batch_size)

    def evaluate(self, what: EvaluationRequest, config: SamplingConfig | None = None) -> EvaluationResult:
        raise UsageError(
            f"evaluate scores masked models; `unmask kv {self.name} --keep 1` scores a causal one on texts"
        )

    def subject(
        self,
        data: Any = None,
        *,
        column: str | None = None,
        length: int | None = None,
        config: SamplingConfig | None = None,
    ) -> Diagnosable:
        from unmask.diagnosis.causal import CausalSubject
        from unmask.evaluation.held_out import unseen

        config = self.config if config is None else config
        # rows are continued behind their beginnings, as prompts are
        given = replace(config, temperature=config.temperature or 0.0, length=None).only(self.honours, self.words)
        writing = _writing(replace(given, length=1))  # refuses what does not fit
        if data is None:
            raise UsageError("a causal model does not say what it was trained on: name texts to score with data=")
        _, texts = unseen(data, column, 4096)
        subject = CausalSubject.of(self, texts, length=64 if length is None else length)
        subject.temperature, subject.limits = writing.temperature, writing.limits
        subject.repetition_penalty, subject.plan_words = writing.repetition_penalty, str(given)
        subject.plan_settings = given.beside(self.config)
        return subject


def _writing(config: SamplingConfig) -> CausalGenerationConfig:
    return CausalGenerationConfig(**{f.name: getattr(config, f.name) for f in fields(CausalGenerationConfig)})
