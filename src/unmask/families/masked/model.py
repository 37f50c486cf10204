"""What every masked model does: it writes, fills in, is scored, and is diagnosed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from unmask.core import distributed
from unmask.core.condition import Condition
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
from unmask.core.registry import spec_of
from unmask.core.sampling_config import SamplingConfig
from unmask.data.text import evenly
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import Callback, generate
from unmask.decoding.trace import Trace
from unmask.families.masked.answers import SAMPLES, filled, scored
from unmask.models.causal import load_causal
from unmask.models.text_model import TextModel
from unmask.search.verifier import SEARCHED, text_verifier

#: steps where nobody says how many, and quota and sampler count them
STEPS = 16
#: fields of a config that are a plan's
_PLAN = frozenset(f.name for f in fields(DecodingPlan)) & frozenset(f.name for f in fields(SamplingConfig))
_WITHOUT_SEARCH = "The search of the model's default plan is left out: each text is written once."


class MaskedModel(TextModel, Model):
    """What every masked model does; the classes in ``texts.py`` say how texts are laid out."""

    honours: ClassVar[frozenset[str]] = frozenset({*_PLAN, *SEARCHED, "length"})
    words: ClassVar[str] = "a masked model"

    @property
    def limit(self) -> int | None:
        return self.denoiser.max_length

    def piece(self, token: int) -> str:
        from unmask.reporting.trace import spelling

        return spelling(self.tokenizer, self.denoiser.mask_id)(token)

    def plan(self, config: SamplingConfig, task: SamplingRequest) -> DecodingPlan:
        """The decoder's plan under a config; what is left open is chosen by the task."""
        given = {name: getattr(config, name) for name in _PLAN}
        auto = config.steps == "auto"
        plan = DecodingPlan(
            **{**given, "steps": None if auto else config.steps, "temperature": task.temperature(config.temperature)}
        )
        return replace(plan, steps=STEPS) if auto and plan.counts_steps else plan

    @staticmethod
    def settled(config: SamplingConfig, plan: DecodingPlan) -> SamplingConfig:
        """A config with what its plan chose where it says nothing, for reports."""
        uses = plan.sampler_leaf.uses
        return replace(
            config,
            order=spec_of(plan.order_leaf) if "order" in uses else None,
            quota=spec_of(plan.quota_leaf) if "quota" in uses else None,
            steps=plan.steps if plan.counts_steps else "auto",
            temperature=plan.temperature,
            length=None,
        )

    def write(self, task: SamplingRequest, config: SamplingConfig) -> Output:
        plan, started = self.plan(config, task), time.perf_counter()
        given = (task.texts, task.n, config.length, task.canvas, task.condition)
        asked = text_verifier(config, [], self.words)  # refused before anything is encoded
        laid = self.laid_out(*given, temperature=plan.temperature, seed=plan.seed)
        if asked:
            from unmask.families.masked.search import before, written

            check = text_verifier(config, before(laid, task), self.words)
            if check is not None:
                return written(self, laid, plan, check, task, config)
        count, size = len(laid.x_BL), config.batch_size
        mine = distributed.split_between_processes(count) if task.share else range(count)
        chosen = fastest(self.denoiser, min(size, count) * laid.x_BL.shape[1], self.device, config.precision)
        chosen = distributed.broadcast_object(chosen) if task.share else chosen
        kept = "committed" if task.trace is True or task.live else task.trace
        parts, traces, forwards, pad = [], [], 0, self.denoiser.pad_id or 0
        for start in range(mine.start, mine.stop, size):
            rows = torch.arange(start, min(start + size, mine.stop), device=self.device)
            # padding that no row of this batch reaches is not run; a trace shows all rows on one canvas
            width = laid.x_BL.shape[1] if kept or laid.valid_BL is None else int(laid.reach_B[rows].max())
            with chosen.autocast(self.device):
                found = generate(
                    self.denoiser,
                    laid.x_BL[rows, :width],
                    plan,
                    fill_BL=None if laid.fill_BL is None else laid.fill_BL[rows, :width],
                    valid_BL=None if laid.valid_BL is None else laid.valid_BL[rows, :width],
                    cond=None if laid.cond is None else laid.cond[rows.to(laid.cond.present_B.device)],
                    row_ids_B=rows,
                    trace=kept or None,  # type: ignore[arg-type]
                    callback=_both(self._live() if task.live and start == 0 else None, task.callback),
                )
            parts.append(torch.nn.functional.pad(found.sequences, (0, laid.x_BL.shape[1] - width), value=pad))
            traces.append(found.trace)
            forwards += found.forwards
        if task.share:
            parts = [part.to(self.device) for part in distributed.gather_object([part.cpu() for part in parts])]
            traces, forwards = distributed.gather_object(traces), sum(distributed.gather_object([forwards]))
        sequences = torch.cat(parts)
        whole = Trace.join([t for t in traces if t is not None]) if traces[0] is not None else None
        texts = task.texts
        return Output(
            self.read(laid, sequences),
            sequences,
            forwards,
            self,
            prompts=None if texts is None else [text for text in texts for _ in range(task.n or 1)],
            config=replace(config, steps=plan.steps, temperature=plan.temperature),
            precision=chosen.precision,
            trace=whole,
            seconds=time.perf_counter() - started,
        )

    def _live(self) -> Callback:
        from unmask.reporting.live import live_callback

        return live_callback(self.piece)

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
        config = self.unsearched(config, "an answer")
        plan = self.plan(config, SamplingRequest(canvas=torch.empty(0)))
        names = range(len(before)) if rows is None else rows
        return [
            filled(self, ahead, behind, length, plan, row, cut, config.precision)
            for ahead, behind, length, row in zip(before, after, lengths, names, strict=True)
        ]

    def unsearched(self, config: SamplingConfig | None, what: str) -> SamplingConfig:
        """A config, or the default plan, for texts that are written once: the default plan's search is left out.

        Raises:
            UsageError: a search that was asked for, or another setting without effect.
        """
        config = self.config if config is None else config
        own = [name for name in SEARCHED if getattr(config, name) == getattr(self.config, name)]
        once = SamplingConfig.of(dict.fromkeys(own), config)
        return once.only(MaskedModel.honours - SEARCHED, f"{what} of {self.words}, which is written without a search")

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
        count = SAMPLES if samples is None else samples
        pairs = zip(contexts, continuations, strict=True)
        return [scored(self, *pair, count, greedy, batch_size, seed) for pair in pairs]

    def evaluate(self, what: EvaluationRequest, config: SamplingConfig | None = None) -> EvaluationResult:
        from unmask.evaluation.evaluate import evaluate as score
        from unmask.evaluation.generation import score_generation
        from unmask.evaluation.scored import rows_at_once, scored_texts

        config = self.config if config is None else config
        judge = None if what.judge is None else load_causal(what.judge, dtype="auto")  # before work starts
        found = scored_texts(self, what.data, what.column, what.texts, what.length)
        sources, references, paired = found.sources, found.references, self.denoiser.conditional
        if paired and len(references) < 2:
            raise UsageError(
                "only 1 of the texts was not trained on and fits the canvas: at least 2 are needed to shuffle latents"
            )
        ids = self.tokenize(references, found.length)
        latents = self.encode(sources) if paired else None
        rows = rows_at_once(found.length)
        task = SamplingRequest(
            n=None if paired else len(references),
            condition=None if latents is None else Condition.of(latents),
            trace=what.trace,
            share=what.share,
        )
        # a model of lengths draws them; the canvas is what the texts are scored on
        length = config.length if self.denoiser.models_length else found.length
        written = self.sample(task, replace(config, length=length, batch_size=min(config.batch_size, rows)))
        generation = score_generation(
            written.texts,
            references,
            inputs=sources if paired else None,
            paired=paired,
            tokenize=lambda texts: self.tokenizer(list(texts), add_special_tokens=False)["input_ids"],
            judge=judge,
            embed=None if self.card.encoder is None else lambda texts: self.encode(list(texts)).cpu().numpy(),
            training_texts=found.known,
            seed=config.seed,
            share=what.share,
        )
        trace = written.trace
        first = trace.select([0]) if isinstance(trace, Trace) else None
        named = what.data if isinstance(what.data, (str, Path)) else self.card.recipe.get("data", "given texts")
        about = {"model": self.path or "in memory", "data": named, "length": found.length}
        about |= {name: value for name, value in written.config.to_dict().items() if name != "batch_size"}
        about |= {
            "order": config.order or "margin",
            "precision of writing": written.precision,
            "seed": config.seed,
        }
        about |= {"written with": self.settled(config, self.plan(config, task))}
        open_NL, valid_NL = self.texts_in(ids)
        return score(
            self.denoiser,
            ids,
            open_NL=open_NL,
            valid_NL=valid_NL,
            latents_NZ=latents,
            generation=generation,
            trace=first,
            pieces=None if first is None else {token: self.piece(token) for token in first.ids},
            about={k: str(v) for k, v in about.items()},
            samples=what.samples,
            batch_size=rows,
            seed=config.seed,
            texts=found,
            share=what.share,
        )

    def subject(
        self,
        data: Any = None,
        *,
        column: str | None = None,
        length: int | None = None,
        config: SamplingConfig | None = None,
    ) -> Diagnosable:
        from unmask.diagnosis.context import TRAIN_ROWS
        from unmask.diagnosis.native import NativeSubject
        from unmask.evaluation.scored import scored_texts

        config = self.unsearched(config, "a diagnosis")
        # a conditional model writes one text from each vector, another one writes freely
        plan = self.plan(config, SamplingRequest(texts=[""] if self.denoiser.conditional else None))
        length = config.length if length is None else length
        # words are counted in what is left when there is no training data to count them in
        found = scored_texts(self, data, column, 256 if self.own_canvas else 4096, length)
        if len(found.references) < 2:
            raise UsageError("only 1 of the texts was not trained on and fits the canvas: a diagnosis needs at least 2")
        known = None if found.known is None else [found.known[i] for i in evenly(len(found.known), TRAIN_ROWS)]
        subject = NativeSubject.of(
            self,
            found.references,
            sources=found.sources,
            train_texts=known,
            plan=plan,
            length=found.length,
            notes=found.notes + (() if self.config.verify is None else (_WITHOUT_SEARCH,)),
        )
        subject.plan_words = str(self.settled(config, plan))
        subject.plan_settings = config.beside(self.config)
        return subject

    def export(self, folder: str | Path, dtype: torch.dtype | None = None) -> Path:
        from unmask.models.export import export

        return export(self, folder, dtype)


def _both(first: Callback | None, second: Callback | None) -> Callback | None:
    if first is None or second is None:
        return first or second

    def call(progress: Any) -> None:
        first(progress)
        second(progress)

    return call
