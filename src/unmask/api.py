"""What users call: load, sample, train, evaluate, diagnose. It composes the rooms below; nothing is new here."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from unmask.api_causal import causal_subject, is_causal, load_causal, sample_causal
from unmask.api_tidal import evaluate_tidal, sample_tidal, tidal_subject
from unmask.core.condition import Condition
from unmask.core.errors import WrongUse
from unmask.data import ranks
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import Callback, generate
from unmask.decoding.trace import Trace
from unmask.models.adapters.text import AdapterModel, Prompted
from unmask.models.causal import CausalModel
from unmask.models.text_model import TextModel, is_native, load_native
from unmask.models.tidal_text import TidalTextModel, is_tidal, load_tidal

if TYPE_CHECKING:
    from unmask.evaluation.evaluate import Evaluation
    from unmask.training.recipe import Recipe


def load(path_or_id: str | Path, device: str | torch.device | None = None) -> Any:
    """A model from a run folder, or somebody else's masked or causal model.

    Args:
        path_or_id: a folder that ``unmask train`` wrote, or a folder or hub id of LLaDA, Dream or any masked language
            model of transformers (:func:`unmask.models.adapters.load_adapter`), or of a causal language model
            (:func:`unmask.models.causal.load_causal`; ``smollm2`` works without a network).
        device: where to put it; CUDA where there is one when None.

    Raises:
        CheckpointError: the folder is unfinished, damaged, or its parts do not belong together; an unknown model.
        WrongUse: there is no such folder or hub id.
    """
    if device is None:
        ranks.count()  # in a launch, "cuda" is this process's own GPU from here on
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if is_tidal(path_or_id):
        return load_tidal(path_or_id, device)
    if is_native(path_or_id) or (Path(path_or_id).is_dir() and not (Path(path_or_id) / "config.json").is_file()):
        return load_native(path_or_id, device)  # says what is missing
    if is_causal(path_or_id):
        return load_causal(path_or_id, device=device)
    from unmask.models.adapters import load_adapter

    return load_adapter(path_or_id, device)


@dataclass
class Samples:
    """What a model wrote.

    Attributes:
        texts: one a row.
        sequences: ids [B, L].
        trace: who was unmasked when, or None.
        forwards: body passes.
        model: what wrote them.
    """

    texts: list[str]
    sequences: Tensor
    trace: Trace | None
    forwards: int
    model: TextModel

    def pieces(self, token: int) -> str:
        """The spelling of one id, for traces."""
        return _piece(self.model, token)

    def save_trace(self, path: str | Path) -> Path:
        """Write the trace as ``.json`` (replayable) or ``.html`` (an animated page).

        Raises:
            WrongUse: there is no trace, or the name has another ending.
        """
        path = Path(path)
        if self.trace is None:
            raise WrongUse("there is no trace: sample with trace=True")
        if path.suffix == ".json":
            return self.trace.save(path)
        if path.suffix == ".html":
            return self.trace.to_html(path, self.pieces)
        raise WrongUse(f"a trace is written as .html or .json, not {path.name!r}")


def sample(
    model: TextModel,
    texts: Sequence[Any] | None = None,
    n: int | None = None,
    *,
    order: Any = None,
    steps: int | None | Literal["auto"] = "auto",
    quota: Any = None,
    guidance: Any = 1.0,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    remasking: Any = None,
    sampler: Any = "maskgit",
    block_length: int | None = None,
    cache: Any = None,
    stop_at_eos: bool = False,
    length: int | None = None,
    canvas: Tensor | None = None,
    condition: Condition | None = None,
    seed: int = 0,
    batch_size: int = 64,
    precision: Literal["fp32", "bf16"] = "fp32",
    trace: bool | Literal["committed", "full"] = False,
    live: bool = False,
    callback: Callback | None = None,
    share: bool = False,
) -> Any:
    """Write texts.

    Args:
        model: from :func:`load`.
        texts: texts whose meaning to write, for a model with an encoder; prompts to answer, for an adapted model:
            texts or chats (lists of ``{"role": ..., "content": ...}``), through its chat template where it has one; a
            text that shows mask tokens is filled in there; texts to continue, for a tidal or a causal model.
        n: samples a text; without texts, samples in all (1 when neither is given).
        order, quota, sampler, remasking: names as ``unmask list`` shows them, ``"margin:noise=0.5"``, or instances.
        steps: denoising steps for the row; None is one a token, ``auto`` 16 where quota and sampler count steps.
        guidance: gamma in ``gamma * l_c + (1 - gamma) * l_u``; 1 is off; SGDD's w is gamma - 1.
        temperature: 0 takes the most probable token; None is 0 for one text a condition, prompt or canvas, else 1:
            several samples at 0 would be one text again and again.
        top_k, top_p, repetition_penalty, block_length, cache, stop_at_eos: see
            :class:`unmask.decoding.plan.DecodingPlan`.
        length: canvas length, or that of an answer to a prompt (a tidal model: most blocks); its own when None.
        canvas: ids [B, L] to fill in: given tokens stay, hidden positions hold the mask id; replaces ``length``.
        condition: semantic vectors at hand instead of ``texts``.
        seed: same seed, same texts, whatever the batch size.
        batch_size: rows at a time.
        precision: ``bf16`` runs the network in bf16, about twice as fast; rounding then depends on the batch, so the
            promise that a row alone equals the row in a batch holds for ``fp32``.
        trace: keep who was unmasked when; ``"full"`` also the best guess everywhere.
        live: show the unmasking of the first row in the terminal.
        callback: called after each step.
        share: each process of a launch (torchrun, accelerate) writes its part and gets everyone's; all must call.

    Returns:
        :class:`Samples`; of a tidal model :class:`unmask.api_tidal.BlockSamples`, of a causal one
        :class:`unmask.api_causal.CausalSamples`: ``.texts`` in all of them.

    Raises:
        WrongUse: texts for a model without an encoder, counts below 1, or a plan that does not fit.
    """
    if isinstance(model, TidalTextModel):
        return sample_tidal(model, texts, n, _given(sample, locals(), "model", "texts", "n"))
    if isinstance(model, CausalModel):
        return sample_causal(model, texts, n, _given(sample, locals(), "model", "texts", "n"))
    model = _denoises(model, "sample")
    if temperature is None:
        free = texts is None and condition is None and canvas is None
        temperature = 1.0 if free or (n or 1) > 1 else 0.0
    plan = DecodingPlan(
        order=order,
        quota=quota,
        steps=None if steps == "auto" else steps,
        guidance=guidance,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        remasking=remasking,
        sampler=sampler,
        block_length=block_length,
        cache=cache,
        stop_at_eos=stop_at_eos,
        seed=seed,
    )
    if steps == "auto" and plan.counts_steps:
        plan = replace(plan, steps=16)
    if n is not None and n < 1:
        raise WrongUse(f"n={n} must be at least 1")
    if batch_size < 1:
        raise WrongUse(f"batch_size={batch_size} must be at least 1")
    if precision not in ("fp32", "bf16"):
        raise WrongUse(f"precision={precision!r} must be 'fp32' or 'bf16'")
    rows_in = _rows(model, texts, n, length, canvas, condition)
    mine = ranks.share(len(rows_in.x_BL)) if share else range(len(rows_in.x_BL))
    parts, traces, forwards = [], [], 0
    for start in range(mine.start, mine.stop, batch_size):
        rows = torch.arange(start, min(start + batch_size, mine.stop), device=model.device)
        show = _live(model) if live and start == 0 else None
        with torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"):
            found = generate(
                model.denoiser,
                rows_in.x_BL[rows],
                plan,
                fill_BL=None if rows_in.prompted is None else rows_in.prompted.fill_BL[rows],
                valid_BL=None if rows_in.prompted is None else rows_in.prompted.valid_BL[rows],
                cond=None if rows_in.cond is None else rows_in.cond[rows.to(rows_in.cond.present_B.device)],
                row_ids_B=rows,
                trace=("committed" if trace is True or live else trace) or None,
                callback=_both(show, callback),
            )
        parts.append(found.sequences)
        traces.append(found.trace)
        forwards += found.forwards
    if share:
        parts = [part.to(model.device) for part in ranks.gather([part.cpu() for part in parts])]
        traces, forwards = ranks.gather(traces), sum(ranks.gather([forwards]))
    sequences = torch.cat(parts)
    whole = Trace.join([t for t in traces if t is not None]) if traces[0] is not None else None
    return Samples(rows_in.texts(model, sequences), sequences, whole, forwards, model)


@dataclass(frozen=True)
class _Rows:
    """What :func:`sample` is to write: canvases, and what belongs to them."""

    x_BL: Tensor
    cond: Condition | None = None
    prompted: Prompted | None = None

    def texts(self, model: TextModel, sequences_BL: Tensor) -> list[str]:
        if self.prompted is not None and isinstance(model, AdapterModel):
            return model.answers(self.prompted, sequences_BL)
        return model.decode(sequences_BL)


def _rows(
    model: TextModel,
    texts: Sequence[Any] | None,
    n: int | None,
    length: int | None,
    canvas: Tensor | None,
    condition: Condition | None,
) -> _Rows:
    if isinstance(texts, str):
        raise WrongUse("texts must be a list: write [text]")
    if texts is not None and condition is not None:
        raise WrongUse("give texts or a condition, not both")
    if texts is not None and not texts:
        raise WrongUse("texts is empty: give at least one text, or n for free samples")
    if texts is not None and isinstance(model, AdapterModel):
        if canvas is not None:
            raise WrongUse("give texts or a canvas, not both: an adapted model's texts are prompts")
        prompted = model.answer_canvas(texts, length).repeat(n or 1)
        return _Rows(prompted.x_BL, prompted=prompted)
    cond = model.condition(texts) if texts is not None else condition
    copies = (n or 1) if cond is not None or canvas is not None else 1
    if cond is not None:
        cond = cond.repeat(copies)
    if canvas is None:
        return _Rows(model.canvas(len(cond) if cond is not None else (n or 1), length), cond)
    canvas = canvas.to(model.device).repeat_interleave(copies, 0)
    if cond is not None and len(cond) != len(canvas):
        raise WrongUse(f"{len(cond)} conditions do not fit a canvas of {len(canvas)} rows")
    return _Rows(canvas, cond)


def train(recipe: Recipe) -> TextModel:
    """Run a training recipe (:func:`unmask.training.recipe.parse`), with samples shown and scored as it goes."""
    from unmask.training.run import Prepared
    from unmask.training.run import train as run
    from unmask.training.trainer import Probe

    def probes(prepared: Prepared) -> list[Probe]:
        if recipe.model.family == "tidal":
            return [_tidal_probe(prepared, recipe)] if recipe.train.probe_texts else []
        found = [generation_probe(prepared, recipe)] if recipe.train.probe_texts else []
        if recipe.train.diagnose_every:
            from unmask.diagnosis.callback import quick_probe

            found.append(quick_probe(prepared.model, prepared.validation, every=recipe.train.diagnose_every))
        return found

    return run(recipe, probes)


def generation_probe(prepared: Any, recipe: Recipe) -> Any:
    """What training looks at besides losses: held-out texts written anew, and how much of them came back.

    ``generation`` is the F1 of words against the reference for a conditional model; free samples are scored by how
    near the distribution of their words comes to the held-out texts'.
    """
    from unmask.metrics.word_distribution import word_distribution_overlap
    from unmask.metrics.word_f1 import word_f1

    t = recipe.train
    texts = prepared.validation_texts[: t.probe_texts]
    sources = prepared.validation_sources[: t.probe_texts]
    cond = prepared.model.condition(sources) if prepared.model.denoiser.conditional else None

    def probe(net: Any, step: int) -> tuple[dict[str, float], list[str]]:
        free = cond is None
        # free samples at temperature 0 are one text again and again
        found = sample(
            prepared.model,
            n=len(texts) if free else None,
            condition=cond,
            order=t.probe_order,
            steps=t.probe_steps,
            guidance=t.probe_guidance,
            temperature=1.0 if free else 0.0,
            seed=t.seed,
            share=True,
        )
        score = word_distribution_overlap(found.texts, texts) if free else float(word_f1(found.texts, texts).mean())
        lines = [f"step {step}: generation {score:.3f}"]
        for i in range(min(t.show_texts, len(found.texts))):
            if not free:
                lines.append(f"  in   {_short(sources[i])}")
            lines.append(f"  out  {_short(found.texts[i])}")
        return {"generation": score}, lines

    return probe


def evaluate(
    model: TextModel,
    data: Any = None,
    *,
    column: str | None = None,
    texts: int = 256,
    order: Any = "margin",
    steps: int = 16,
    guidance: float = 1.0,
    temperature: float | None = None,
    block_length: int | None = None,
    cache: Any = None,
    judge: str | None = None,
    samples: int = 8,
    seed: int = 0,
    trace: bool = True,
    share: bool = False,
) -> Evaluation:
    """Score a model on held-out texts: bound, loss by mask ratio, use of the latent, and what it writes.

    Args:
        model: from :func:`load`.
        data, column, texts: see :func:`unmask.evaluation.held_out.held_out`. Texts longer than the canvas are left out.
        order, steps, guidance, temperature, block_length, cache: how it writes; temperature None is 0 with texts to
            reconstruct, else 1.
        judge: causal model for GenPPL ("smollm2" or a hub id); None leaves it out.
        samples: corruptions a text for the bound.
        seed: of everything random.
        trace: put one animated unmasking on the page.
        share: each process of a launch (torchrun, accelerate) scores its part and gets everyone's; all must call.

    Returns:
        ``.metrics``, ``.tables()``, ``.save(folder)``.
    """
    from unmask.evaluation.evaluate import evaluate as score
    from unmask.evaluation.generation import score_generation
    from unmask.evaluation.held_out import held_out

    if isinstance(model, TidalTextModel):
        given = _given(evaluate, locals(), "model", "data", "column", "texts")
        given["judge"] = _judge(judge)
        about = {"model": model.path or "in memory", "data": str(model.card.recipe.get("data", "given texts"))}
        return evaluate_tidal(model, data, column, texts, given, about)
    model = _denoises(model, "evaluate")
    sources, references, found = held_out(model, data, column, texts)
    fits = [
        i
        for i, ids in enumerate(model.tokenizer(references, add_special_tokens=False)["input_ids"])
        if len(ids) < model.card.length
    ]
    if not fits:
        raise WrongUse(f"no text fits the model's canvas of {model.card.length} tokens")
    sources, references = [sources[i] for i in fits], [references[i] for i in fits]
    ids = model.tokenize(references)
    paired = model.denoiser.conditional
    latents = model.encode(sources) if paired else None
    if temperature is None:
        temperature = 0.0 if paired else 1.0
    written = sample(
        model,
        n=None if paired else len(references),
        condition=Condition.of(latents) if latents is not None else None,
        order=order,
        steps=steps,
        guidance=guidance,
        temperature=temperature,
        block_length=block_length,
        cache=cache,
        seed=seed,
        trace=trace,
        share=share,
    )
    generation = score_generation(
        written.texts,
        references,
        inputs=sources if paired else None,
        paired=paired,
        tokenize=lambda rows: model.tokenizer(list(rows), add_special_tokens=False)["input_ids"],
        judge=_judge(judge),
        embed=_embed(model),
        training_texts=found.train if found is not None else None,
        seed=seed,
        share=share,
    )
    page = written.trace.select([0]).html(written.pieces) if written.trace is not None else None
    about = {
        "model": model.path or "in memory",
        "data": data if isinstance(data, (str, Path)) else model.card.recipe.get("data", "given texts"),
        "order": order,
        "steps": steps,
        "guidance gamma": guidance,
        "temperature": temperature,
        "block length": block_length,
        "cache": cache,
        "seed": seed,
    }
    return score(
        model.denoiser,
        ids,
        latents_NZ=latents,
        generation=generation,
        trace_html=page,
        about={k: str(v) for k, v in about.items() if v is not None},
        samples=samples,
        seed=seed,
        share=share,
    )


def diagnose(model: Any, data: Any = None, *, budget: Literal["quick", "full"] = "quick", **settings: Any) -> Any:
    """Say why a model writes badly, with evidence (:func:`unmask.diagnosis.diagnose.diagnose`).

    Args:
        model: a loaded model or a :class:`unmask.diagnosis.subject.Subject` of your own.
        data: held-out texts; the model's own when None.
        budget: ``quick`` (under a minute for a small model) or ``full``.

    Returns:
        a verdict: ``.status``, ``.findings``, ``.save("report.html")``, ``.to_json()``.
    """
    from unmask.diagnosis.diagnose import diagnose as run

    if isinstance(model, TidalTextModel):
        model = tidal_subject(model, data)
    elif isinstance(model, CausalModel):
        model = causal_subject(model, data)
    elif isinstance(model, TextModel):
        from unmask.data.text import evenly
        from unmask.diagnosis.native import NativeSubject
        from unmask.evaluation.held_out import fitting, held_out

        # words are counted in what is left when there is no training data to count them in
        sources, references, found = held_out(model, data, texts=4096 if isinstance(model, AdapterModel) else 256)
        sources, references = fitting(model, sources, references)
        train_texts = None if found is None else [found.train[i] for i in evenly(len(found.train), 2000)]
        model = NativeSubject.of(model, references, sources=sources, train_texts=train_texts)
    return run(model, budget=budget, **settings)


def _tidal_probe(prepared: Any, recipe: Recipe) -> Any:
    from unmask.evaluation.tidal import exact_match_probe, text_probe
    from unmask.training.tidal import ARITHMETIC

    t = recipe.train
    examples = prepared.validation.examples[: t.probe_texts]
    if recipe.data.data == ARITHMETIC:
        return exact_match_probe(prepared.model, examples, show=t.show_texts)
    return text_probe(prepared.model, [text for _, text in examples], show=t.show_texts)


def _denoises(model: Any, what: str) -> TextModel:
    if isinstance(model, CausalModel):
        raise WrongUse(f"{what} scores masked models; `unmask kv {model.name} --keep 1` scores a causal one on texts")
    if not isinstance(model, TextModel):
        raise WrongUse(f"{what} takes a model from unmask.load, not a {type(model).__name__}")
    return model


def _given(call: Any, values: dict[str, Any], *own: str) -> dict[str, Any]:
    """The settings of a call that differ from their defaults."""
    known = inspect.signature(call).parameters
    changed = {k: v for k, v in values.items() if k in known and k not in own}
    return {k: v for k, v in changed.items() if isinstance(v, Tensor) or v != known[k].default}


def _judge(name: str | None) -> Any:
    if name is None:
        return None
    return load_causal(name)


def _embed(model: TextModel) -> Any:
    if model.card.encoder is None:
        return None
    return lambda texts: model.encode(list(texts)).cpu().numpy()


def _piece(model: TextModel, token: int) -> str:
    d = model.denoiser
    names = {d.mask_id: "", d.pad_id: "·", d.eos_id: "⏎"}
    return names[token] if token in names else str(model.tokenizer.decode([token], clean_up_tokenization_spaces=False))


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


def _live(model: TextModel) -> Callback:
    from unmask.decoding.terminal import live_callback

    return live_callback(lambda token: _piece(model, token))
