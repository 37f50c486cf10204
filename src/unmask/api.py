"""What users call: load, sample, train, evaluate, diagnose. It composes the rooms below; nothing is new here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from unmask.api_causal import causal_subject, is_causal, load_causal
from unmask.api_probes import check_probe, generation_probe, tidal_probe
from unmask.api_sample import denoises, given_of, sample
from unmask.api_tidal import evaluate_tidal, tidal_subject
from unmask.core.condition import Condition
from unmask.core.device import device_of
from unmask.core.errors import WrongUse
from unmask.data import ranks
from unmask.models.adapters.text import AdapterModel
from unmask.models.causal import CausalModel
from unmask.models.hub import find
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
            (:func:`unmask.models.causal.load_causal`; ``smollm2`` works without a network). What it is,
            :func:`unmask.models.kind.kind_of` says; which folder is meant, :func:`unmask.models.hub.find`.
        device: where to put it; CUDA where there is one when None.

    Raises:
        CheckpointError: the folder is unfinished, damaged, or its parts do not belong together; an unknown model.
        WrongUse: there is no such folder or hub id, or no such device.
    """
    if device is None:
        ranks.count()  # in a launch, "cuda" is this process's own GPU from here on
    device = device_of(device)
    if is_causal(path_or_id):
        return load_causal(path_or_id, device=device)
    folder = find(path_or_id)
    if is_tidal(folder):
        return load_tidal(path_or_id, device)
    if is_native(folder) or not (folder / "config.json").is_file():
        return load_native(path_or_id, device)  # says what is missing
    from unmask.models.adapters import load_adapter

    return load_adapter(path_or_id, device)


def train(recipe: Recipe) -> TextModel:
    """Run a training recipe (:func:`unmask.training.recipe.parse`), with samples shown and scored as it goes."""
    from unmask.training.run import Prepared
    from unmask.training.run import train as run
    from unmask.training.trainer import Probe

    def probes(prepared: Prepared) -> list[Probe]:
        if recipe.model.family == "tidal":
            return [tidal_probe(prepared, recipe)] if recipe.train.probe_texts else []
        found = [generation_probe(prepared, recipe)] if recipe.train.probe_texts else []
        if recipe.train.diagnose_every:
            from unmask.diagnosis.callback import quick_probe

            found.append(quick_probe(prepared.model, prepared.validation, every=recipe.train.diagnose_every))
        return found

    check_probe(recipe)
    return run(recipe, probes)


def evaluate(
    model: TextModel,
    data: Any = None,
    *,
    column: str | None = None,
    texts: int = 256,
    length: int | None = None,
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
        data, column, texts: see :func:`unmask.evaluation.held_out.held_out`.
        length: positions of the canvas that texts are scored and written on, up to the model's. None: those that a
            model of ours was trained on; of somebody else's what the longest text needs (128 to 1024). Texts that are
            longer or hold the mask word are left out and counted (:func:`unmask.evaluation.scored.scored_texts`).
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
    from unmask.evaluation.scored import rows_at_once, scored_texts

    if isinstance(model, TidalTextModel):
        given = given_of(evaluate, locals(), "model", "data", "column", "texts")
        given["judge"] = _judge(judge)
        about = {"model": model.path or "in memory", "data": str(model.card.recipe.get("data", "given texts"))}
        return evaluate_tidal(model, data, column, texts, given, about)
    model = denoises(model, "evaluate")
    found = scored_texts(model, data, column, texts, length)
    sources, references = found.sources, found.references
    paired = model.denoiser.conditional
    if paired and len(references) < 2:
        raise WrongUse(
            "only 1 of the texts was not trained on and fits the canvas: at least 2 are needed to shuffle latents"
        )
    ids = model.tokenize(references, found.length)
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
        length=found.length,
        seed=seed,
        batch_size=rows_at_once(found.length),
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
        training_texts=found.known,
        seed=seed,
        share=share,
    )
    page = written.trace.select([0]).html(written.pieces) if written.trace is not None else None
    about = {
        "model": model.path or "in memory",
        "data": data if isinstance(data, (str, Path)) else model.card.recipe.get("data", "given texts"),
        "length": found.length,
        "order": order,
        "steps": steps,
        "guidance gamma": guidance,
        "temperature": temperature,
        "precision of writing": written.precision,
        "block length": block_length,
        "cache": cache,
        "seed": seed,
    }
    open_NL, valid_NL = model.texts_in(ids) if isinstance(model, AdapterModel) else (None, None)
    return score(
        model.denoiser,
        ids,
        open_NL=open_NL,
        valid_NL=valid_NL,
        latents_NZ=latents,
        generation=generation,
        trace_html=page,
        about={k: str(v) for k, v in about.items() if v is not None},
        samples=samples,
        batch_size=rows_at_once(found.length),
        seed=seed,
        texts=found,
        share=share,
    )


def diagnose(
    model: Any,
    data: Any = None,
    *,
    column: str | None = None,
    length: int | None = None,
    budget: Literal["quick", "full"] = "quick",
    **settings: Any,
) -> Any:
    """Say why a model writes badly, with evidence (:func:`unmask.diagnosis.diagnose.diagnose`).

    Args:
        model: a loaded model or a :class:`unmask.diagnosis.subject.Subject` of your own.
        data: held-out texts; the model's own when None.
        column: the column of ``data`` that holds the text.
        length: positions of the canvas, see :func:`evaluate`; of a causal model tokens a row (64).
        budget: ``quick`` (under a minute for a small model) or ``full``.

    Returns:
        a verdict: ``.status``, ``.findings``, ``.save("report.html")``, ``.to_json()``.
    """
    from unmask.diagnosis.diagnose import diagnose as run

    if isinstance(model, TidalTextModel):
        model = tidal_subject(model, data, column, length)
    elif isinstance(model, CausalModel):
        model = causal_subject(model, data, column, length)
    elif isinstance(model, TextModel):
        from unmask.data.text import evenly
        from unmask.diagnosis.native import NativeSubject
        from unmask.evaluation.scored import scored_texts

        # words are counted in what is left when there is no training data to count them in
        found = scored_texts(model, data, column, 4096 if isinstance(model, AdapterModel) else 256, length)
        if len(found.references) < 2:
            raise WrongUse("only 1 of the texts was not trained on and fits the canvas: a diagnosis needs at least 2")
        train_texts = None if found.known is None else [found.known[i] for i in evenly(len(found.known), 2000)]
        model = NativeSubject.of(
            model,
            found.references,
            sources=found.sources,
            train_texts=train_texts,
            length=found.length,
            notes=found.notes,
        )
    elif length is not None:
        raise WrongUse(f"length={length} has no effect on a {type(model).__name__}, which brings its own rows")
    elif column is not None:
        raise WrongUse(f"column={column!r} goes with data= and a loaded model: a subject has texts of its own")
    return run(model, budget=budget, **settings)


def _judge(name: str | None) -> Any:
    if name is None:
        return None
    return load_causal(name, dtype="auto")


def _embed(model: TextModel) -> Any:
    if model.card.encoder is None:
        return None
    return lambda texts: model.encode(list(texts)).cpu().numpy()
