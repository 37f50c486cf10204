"""Masked models: unmask's own (with or without a semantic vector), LLaDA, Dream, and transformers' masked models."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from unmask.core import distributed
from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.core.family import Family, Place, Prepared
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
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import Callback, generate
from unmask.decoding.trace import Trace
from unmask.families._masked_answers import SAMPLES, filled, scored
from unmask.models.adapters import load_adapter
from unmask.models.adapters.text import AdapterModel
from unmask.models.causal import load_causal
from unmask.models.text_model import TextModel, is_native, load_native

#: steps where nobody says how many, and quota and sampler count them
STEPS = 16
#: fields of a config that are a plan's
_PLAN = frozenset(f.name for f in fields(DecodingPlan)) & frozenset(f.name for f in fields(SamplingConfig))
#: what bounds a search against a verifier
SEARCHED = frozenset({"verify", "calls", "forwards", "seconds"})
_WITHOUT_SEARCH = "The search of the model's default plan is left out: each text is written once."


class _MaskedModel(TextModel, Model):
    """What every masked model does; the two classes below say how texts are laid out."""

    honours: ClassVar[frozenset[str]] = frozenset({*_PLAN, "length"})
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
        laid = self.laid_out(*given, temperature=plan.temperature, seed=plan.seed)
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
        return once.only(_MaskedModel.honours, f"{what} of {self.words}, which is written without a search")

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
        from unmask.data.text import evenly
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

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> Path:
        written = super().save(folder, dtype)
        if self.config.changed():
            self.config.save(written)
        return written

    def export(self, folder: str | Path, dtype: torch.dtype | None = None) -> Path:
        from unmask.models.export import export

        return export(self, folder, dtype)


class MaskedText(_MaskedModel):
    """A masked diffusion model of unmask's own: texts are written from their meaning, or freely."""

    honours: ClassVar[frozenset[str]] = _MaskedModel.honours | SEARCHED

    def write(self, task: SamplingRequest, config: SamplingConfig) -> Output:
        if config.verify is None:
            vain = [name for name in ("calls", "forwards", "seconds") if getattr(config, name) is not None]
            if vain:
                raise UsageError(f"{vain[0]}={getattr(config, vain[0])!r} has no effect without verify='cosine'")
            return super().write(task, config)
        task.without("a search against a verifier, which lays out its own canvases", "canvas")
        if task.texts is None and task.condition is None:
            raise UsageError(f"verify={config.verify!r} needs texts or vectors to compare with: give one of them")
        cond = self.laid_out(task.texts, task.n, None, None, task.condition).cond
        assert cond is not None
        if not bool(cond.present_B.all()):
            raise UsageError(f"verify={config.verify!r} compares with a vector, and a row of the condition has none")
        out = self._searched(cond.latent_BZ, config, None, task.callback, bool(task.trace), task.share)
        if task.texts is not None:
            out.prompts = [text for text in task.texts for _ in range(task.n or 1)]
        return out

    def invert(
        self,
        vectors_NZ: Tensor,
        config: SamplingConfig | None = None,
        *,
        rows: Sequence[int] | None = None,
        on_progress: Callable[[Any], None] | None = None,
        trace: bool = False,
        stored: str = "fp32",
    ) -> Output:
        config = SamplingConfig(verify="cosine") if config is None else config
        return self._searched(vectors_NZ, config, rows, on_progress, trace, False, stored)

    def vector_statistics(self) -> tuple[int, Tensor | None, Tensor | None]:
        if not self.denoiser.conditional:
            raise UsageError("invert writes the texts of vectors, and this model was trained without any")
        whiten = self.denoiser.latent.whiten  # type: ignore[attr-defined]
        return int(whiten.mean_Z.shape[0]), whiten.mean_Z.detach().float().cpu(), whiten.map_ZZ.detach().float().cpu()

    def _searched(
        self,
        vectors_NZ: Tensor,
        config: SamplingConfig,
        rows: Sequence[int] | None,
        on_progress: Callable[[Any], None] | None,
        trace: bool,
        share: bool,
        stored: str = "fp32",
    ) -> Output:
        from unmask.search.from_vectors import HONOURED, write_from_vectors
        from unmask.search.trace import SearchTrace

        own = self.config.changed()
        asked = {k: v for k, v in config.changed().items() if k not in own or own[k] != v}
        SamplingConfig.of(asked).only(HONOURED, "a search against a verifier, which plans its own writing")
        found, precision, seconds = write_from_vectors(
            self, vectors_NZ, config, rows=rows, on_progress=on_progress, share=share, stored=stored
        )
        texts = [one.text for one in found]
        return Output(
            texts,
            self.tokenize(texts),
            sum(one.forwards for one in found),
            self,
            config=config,
            precision=precision,
            trace=SearchTrace.of(found, config.verify or "cosine") if trace else None,
            verified=[one.verified for one in found],
            cosine=[one.score for one in found],
            calls=sum(one.calls for one in found),
            seconds=seconds,
            row_calls=[one.calls for one in found],
            row_forwards=[one.forwards for one in found],
            stopped=[one.stopped for one in found],
        )


class AdaptedText(AdapterModel, _MaskedModel):
    """Somebody else's masked model: prompts are answered, holes in texts are filled in."""


@dataclass(frozen=True)
class MaskedFamily(Family):
    """Any-order models: masked positions are predicted from both sides."""

    reference: ClassVar[str] = "arXiv 2406.07524"
    trains: ClassVar[str] = "denoiser"
    reads: ClassVar[tuple[str, ...]] = (
        "loops", "input_injection", "deep_supervision", "rope", "absolute", "time_embedding", "self_conditioning",
        "length_model", "pad_weight", "condition_dropout", "self_conditioning_rate", "vib_beta", "free_bits",
        "probe_order", "probe_steps", "bag_of_words", "bag_weight", "latent_noise",
    )  # fmt: skip

    @classmethod
    def detect(cls, place: Place) -> str | None:
        if place.folder is not None and is_native(place.folder):
            return "it holds unmask.json"
        return "nothing else reads it" if place.folder is not None else None

    @classmethod
    def load(cls, place: Place, device: torch.device) -> Model:
        own = str(place.config.get("model_type", "")).startswith("unmask")  # a checkpoint of a run has no card itself
        if place.folder is None or own or is_native(place.folder) or not place.config:
            return _behind(load_native(place.name, device))  # says what is missing
        return _behind(load_adapter(place.name, device))

    @classmethod
    def adopt(cls, found: object) -> Model | None:
        return _behind(found) if isinstance(found, TextModel) else None

    @classmethod
    def check(cls, recipe: Any) -> None:
        t = recipe.train
        if t.probe_texts:
            try:
                DecodingPlan(order=t.probe_order, steps=t.probe_steps, quota="linear")
            except UsageError as error:
                raise UsageError(f"probe_order={t.probe_order!r}, probe_steps={t.probe_steps}: {error}") from error

    @classmethod
    def figures(cls, model: Any, task: str) -> list[str]:
        from unmask.training.masked_diffusion_trainer import MaskedDiffusionTrainer

        return MaskedDiffusionTrainer.figures(model, task)

    @classmethod
    def prepare(cls, recipe: Any, say: Callable[[str], None] = print) -> Prepared:
        from unmask.training.masked import prepare

        return prepare(recipe, say)

    @classmethod
    def probes(cls, prepared: Any, recipe: Any) -> list[Any]:
        from unmask.diagnosis.callback import quick_probe

        t = recipe.train
        probe = _correction_probe if recipe.data.task == "correction" else _generation_probe
        found = [probe(prepared, recipe)] if t.probe_texts else []
        if t.diagnose_every:
            found.append(quick_probe(prepared.model, prepared.validation, every=t.diagnose_every))
        return found


def _behind(found: TextModel) -> _MaskedModel:
    """A network with its tokenizer behind the contract of every model."""
    own = AdaptedText if isinstance(found, AdapterModel) else MaskedText
    return own(found.denoiser, found.tokenizer, found.card, found.path, found._encoder)


def _generation_probe(prepared: Any, recipe: Any) -> Any:
    """What training looks at besides losses: held-out texts written anew, and how much of them came back.

    ``generation`` is the F1 of words against the reference for a conditional model; free samples are scored by how
    near the distribution of their words comes to the held-out texts'.
    """
    from unmask.metrics.word_distribution import word_distribution_overlap
    from unmask.metrics.word_f1 import word_f1

    t = recipe.train
    texts = prepared.validation_texts[: t.probe_texts]
    sources = prepared.validation_sources[: t.probe_texts]
    model = _behind(prepared.model)
    cond = prepared.model.condition(sources) if prepared.model.denoiser.conditional else None

    plan = SamplingConfig(
        order=t.probe_order,
        steps=t.probe_steps,
        guidance=t.probe_guidance,
        temperature=1.0 if cond is None else 0.0,
        seed=t.seed,
    )

    def probe(net: Any, step: int) -> tuple[dict[str, float], list[str]]:
        free = cond is None
        # free samples at temperature 0 are one text again and again
        found = model.sample(SamplingRequest(n=len(texts) if free else None, condition=cond, share=True), plan)
        score = word_distribution_overlap(found.texts, texts) if free else float(word_f1(found.texts, texts).mean())
        lines = [f"step {step}: generation {score:.3f}"]
        for i in range(min(t.show_texts, len(found.texts))):
            if not free:
                lines.append(f"  in   {_short(sources[i])}")
            lines.append(f"  out  {_short(found.texts[i])}")
        return {"generation": score}, lines

    return probe


def _correction_probe(prepared: Any, recipe: Any) -> Any:
    """What training of a corrector looks at: how near held-out drafts come to their vectors by one correction.

    ``generation`` is the mean cosine of the corrected texts' vectors, ``cosine_draft`` that of the drafts'.
    """
    from unmask.decoding.corrections import corrections, sampled_drafts

    t, model, decoder = recipe.train, prepared.model, prepared.trainer.keywords["drafter"].decoder
    z_BZ = model.encode(prepared.validation_sources[: t.probe_texts])
    how = {"steps": t.probe_steps, "order": t.probe_order, "temperature": 0.0, "seed": t.seed}
    drafts = decoder.decode(sampled_drafts(decoder.denoiser, Condition.of(z_BZ), **how)[:, 0])
    ids_BL = model.tokenize(drafts)
    z_h_BZ = model.encode(model.decode(ids_BL))

    def probe(net: Any, step: int) -> tuple[dict[str, float], list[str]]:
        found = corrections(net, z_BZ, z_h_BZ, ids_BL, guidance=t.probe_guidance, **how)
        texts = model.decode(found[:, 0])
        before, after = (
            float(torch.cosine_similarity(z_BZ, vectors).mean()) for vectors in (z_h_BZ, model.encode(texts))
        )
        lines = [f"step {step}: cosine {before:.3f} of the drafts, {after:.3f} corrected"]
        for truth, draft, text in list(zip(prepared.validation_sources, drafts, texts, strict=False))[: t.show_texts]:
            lines += [f"  in   {_short(truth)}", f"  was  {_short(draft)}", f"  out  {_short(text)}"]
        return {"generation": after, "cosine_draft": before, "cosine_corrected": after}, lines

    return probe


def _short(text: str, width: int = 110) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def _both(first: Callback | None, second: Callback | None) -> Callback | None:
    if first is None or second is None:
        return first or second

    def call(progress: Any) -> None:
        first(progress)
        second(progress)

    return call
