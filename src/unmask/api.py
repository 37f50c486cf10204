"""What users call: load, sample, invert, train, evaluate, diagnose. Each asks the model, whatever its family."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor

from unmask.core import distributed
from unmask.core.condition import Condition
from unmask.core.device import device_of
from unmask.core.errors import UnmaskError, UsageError
from unmask.core.family import families
from unmask.core.model import EvaluationRequest, EvaluationResult, Model, Output, SamplingRequest
from unmask.core.sampling_config import SamplingConfig
from unmask.families import adopted
from unmask.families import load as load_model

if TYPE_CHECKING:
    from unmask.diagnosis.finding import Finding
    from unmask.diagnosis.verdict import Verdict
    from unmask.training.recipe import Recipe


def load(path_or_id: str | Path, device: str | torch.device | None = None) -> Model:
    """A model from a run folder, a checkpoint that ships, or somebody else's masked or causal model.

    Args:
        path_or_id: a folder that ``unmask train`` or ``unmask experiment`` wrote, or a folder or hub id of LLaDA,
            Dream, any masked language model of transformers, or a causal one (``smollm2`` works without a network).
            What it is, the families say (:mod:`unmask.families`).
        device: where to put it; CUDA where there is one when None.

    Raises:
        CheckpointError: the folder is unfinished, damaged, or its parts do not belong together; an unknown model.
        UsageError: there is no such folder or hub id, or no such device.
    """
    if device is None:
        distributed.world_size()  # in a launch, "cuda" is this process's own GPU from here on
    return load_model(path_or_id, device_of(device))


def train(recipe: Recipe) -> Model:
    """The model of a training recipe (:func:`unmask.training.recipe.parse`), with samples scored as it goes.

    Raises:
        UsageError, CheckpointError: settings that do not fit, or a run folder of another recipe.
    """
    from unmask.training.run import train as run

    family = families.training(recipe.model.family)
    trained = adopted(run(recipe, family.probes), "train")
    folder = Path(str(recipe.train.output_dir))
    if distributed.is_main_process():
        try:
            _record(folder, "training", about=recipe.settings())
        except UnmaskError as error:
            print(f"no record for later diagnoses was kept: {error}")
    distributed.barrier()
    return trained


def record(path: str | Path, data: Any = None, *, column: str | None = None) -> Path:
    """Keep what a model scores today in its own folder, for a diagnosis after it was moved, converted or changed.

    ``unmask train`` does this at the end of training. A record of a model that came without one is "recorded later":
    a diagnosis can then see that the model changed since, but nothing of its training.

    Args:
        path: a model folder that can be written.
        data, column: texts, or where they are; what training held out when None.

    Returns:
        The path of ``record.safetensors``. It holds the texts of 48 held-out and 48 training rows.

    Raises:
        UsageError: not a folder, one with a record of its training, or a model without data.
    """
    from unmask.diagnosis.record import read

    if not Path(path).is_dir():
        raise UsageError(f"{str(path)!r} is no folder here: a record stands beside the weights that it is of")
    kept = read(path)
    if kept is not None and kept.when == "training":
        raise UsageError(f"{str(path)!r} holds a record of its training ({kept.made}), which is worth more: keep it")
    return _record(Path(path), "later", data, column)


def _record(folder: Path, when: Any, data: Any = None, column: str | None = None, about: Any = None) -> Path:
    from unmask.diagnosis.record import curve_of, record_of
    from unmask.diagnosis.subject import Subject

    # from the files, not from memory: what is lost on the way to disk and back must not be in the record
    subject = load(folder).subject(data, column=column)
    return record_of(cast(Subject, subject), when, about=about, curve=curve_of(folder)).save(folder)


def sample(
    model: Any,
    texts: Sequence[Any] | None = None,
    n: int | None = None,
    *,
    config: SamplingConfig | None = None,
    canvas: Tensor | None = None,
    condition: Condition | None = None,
    trace: bool | Literal["committed", "full"] = False,
    live: bool = False,
    callback: Callable[[Any], None] | None = None,
    share: bool = False,
    **settings: Any,
) -> Output:
    """Write texts.

    Args:
        model: from :func:`load`.
        texts: texts whose meaning to write, for a model with an encoder; prompts to answer, for an adapted model:
            texts or chats (lists of ``{"role": ..., "content": ...}``), through its chat template where it has one; a
            text that shows mask tokens is filled in there; texts to continue, for a tidal or a causal model; boards,
            for a puzzle model.
        n: samples a text; without texts, samples in all (1 when neither is given).
        config: how; the model's default plan when None.
        canvas: ids [B, L] to fill in: given tokens stay, masked positions hold the mask id; replaces ``length``.
        condition: semantic vectors at hand instead of ``texts``.
        trace: keep who was unmasked when; ``"full"`` also the best guess everywhere.
        live: show the unmasking of the first row in the terminal.
        callback: called after each step.
        share: each process of a launch (torchrun, accelerate) writes its part and gets everyone's; all must call.
        settings: any of :class:`unmask.core.sampling_config.SamplingConfig`, on top of ``config``.

    Returns:
        ``.texts``, ``.sequences``, ``.forwards``, ``.trace`` ...

    Raises:
        UsageError: a setting that has no effect on this model, counts below 1, or a plan that does not fit.
    """
    model = adopted(model, "sample")
    task = SamplingRequest(texts, n, canvas, condition, trace, callback, live, share)
    return model.sample(task, SamplingConfig.of(settings, config or model.config))


def invert(
    model: Any,
    vectors: Any,
    *,
    column: str | None = None,
    out: str | Path | None = None,
    trace: bool = False,
    callback: Callable[[Any], None] | None = None,
    config: SamplingConfig | None = None,
    **settings: Any,
) -> Output | list[dict[str, Any]]:
    """Texts for semantic vectors from elsewhere, such as an embedding store, by search against the encoder.

    Args:
        model: from :func:`load`; the vectors must be of the encoder that it was trained with.
        vectors: an array or a tensor [N, Z], or a .npy, .parquet or .safetensors file.
        column: of a .parquet file, or the tensor's name in a .safetensors file.
        out: a .csv or .jsonl file to write to: then a run that was stopped goes on where it was, the processes of a
            launch share the work, and the rows of the file are returned.
        trace: keep each step up (without ``out``).
        callback: called with each :class:`unmask.search.loop.Rise` and :class:`unmask.search.loop.Ended`.
        config, settings: ``calls``, ``forwards``, ``seconds``, ``seed``, ``precision``, and ``verify``, such as
            ``cosine:threshold=0.999``; otherwise the threshold follows the precision in which the vectors are stored.

    Returns:
        an :class:`unmask.core.model.Output`: ``.texts``, ``.cosine``, ``.verified``, ``.row_calls``, ``.stopped``; with
        ``out`` the rows of the file.

    Raises:
        UsageError: a model or a setting that does not fit; vectors of another width, with NaN, or zeros.
    """
    import warnings

    from unmask.search.vectors import checked, read_vectors, stored_as

    model = adopted(model, "invert")
    plan = SamplingConfig.of({"verify": "cosine", **settings}, config)
    statistics = model.vector_statistics()
    found = read_vectors(vectors, column)
    z_NZ, notes = checked(found, *statistics)
    for note in notes:
        warnings.warn(f"these vectors are not like those that the model was trained on: {note}", stacklevel=2)
    if out is None:
        return model.invert(z_NZ, plan, on_progress=callback, trace=trace, stored=stored_as(found))
    from unmask.search.invert import invert_to

    if trace:
        raise UsageError("trace=True has no effect with out=, where rows are forgotten once they are written")
    rows = invert_to(out, model, z_NZ, plan, stored=stored_as(found), on_progress=callback)
    if len(rows) < len(z_NZ):
        left = len(z_NZ) - len(rows)
        warnings.warn(
            f"seconds ran out: {left} of {len(z_NZ)} vectors are left, and the same call goes on", stacklevel=2
        )
    return rows


def evaluate(
    model: Any,
    data: Any = None,
    *,
    column: str | None = None,
    texts: int = 256,
    length: int | None = None,
    judge: str | None = None,
    samples: int = 8,
    trace: bool = True,
    share: bool = False,
    config: SamplingConfig | None = None,
    **settings: Any,
) -> EvaluationResult:
    """Score a model on held-out texts: bound, loss by mask ratio, use of the latent, and what it writes.

    Args:
        model: from :func:`load`.
        data, column, texts: see :func:`unmask.evaluation.held_out.held_out`.
        length: positions of the canvas that texts are scored and written on, up to the model's. None: those that a
            model of ours was trained on; of somebody else's what the longest text needs (128 to 1024). Texts that are
            longer or hold the mask word are left out and counted (:func:`unmask.evaluation.scored.scored_texts`).
        judge: causal model for GenPPL ("smollm2" or a hub id); None leaves it out.
        samples: corruptions a text for the bound.
        trace: put one animated unmasking on the page.
        share: each process of a launch (torchrun, accelerate) scores its part and gets everyone's; all must call.
        config, settings: how it writes, as for :func:`sample`; the temperature is 0 with texts to reconstruct, else 1,
            when not given.

    Returns:
        ``.metrics``, ``.tables()``, ``.save(folder)``.
    """
    model = adopted(model, "evaluate")
    what = EvaluationRequest(data, column, texts, length, judge, samples, trace, share)
    return model.evaluate(what, SamplingConfig.of(settings, config or model.config))


def diagnose(
    model: Any,
    data: Any = None,
    *,
    column: str | None = None,
    length: int | None = None,
    budget: Literal["quick", "full"] = "quick",
    only: Sequence[str] | None = None,
    seed: int | None = None,
    progress: bool | Callable[[str], None] = False,
    share: bool = False,
    baseline: str | Path | None = None,
    on_finding: Callable[[Finding], None] | None = None,
    config: SamplingConfig | None = None,
    **settings: Any,
) -> Verdict:
    """Say why a model writes badly, with evidence (:func:`unmask.diagnosis.diagnose.diagnose`).

    What it writes is judged under the plan that :func:`sample` would use: the call's, else the model's default plan.

    Args:
        model: a loaded model or a :class:`unmask.diagnosis.subject.Subject` of your own.
        data: held-out texts; the model's own when None.
        column: the column of ``data`` that holds the text.
        length: positions of the canvas, see :func:`evaluate`; of a causal model tokens a row (64).
        budget: ``quick`` (under a minute for a small model) or ``full``.
        only: only these checks, ``"name"`` or ``"name:setting=value"``.
        seed: of everything drawn; the config's when None.
        progress: show a progress bar, or call this with each check's name.
        share: each process of a launch runs every n-th check and gets the whole verdict; all must call.
        baseline: an earlier verdict of the same model as JSON: what is surely worse now fails, what is better is said.
        on_finding: called with each finding as it comes, the writing first.
        config, settings: how it writes, as for :func:`sample`, but for what does not change texts (``batch_size``,
            ``precision``). A subject of your own brings its own plan.

    Returns:
        a verdict: ``.status``, ``.findings``, ``.save("report.html")``, ``.to_json()``.

    Raises:
        UsageError: a setting that has no effect, an unknown check, or no texts to ask about.
    """
    from unmask.diagnosis.diagnose import diagnose as run
    from unmask.diagnosis.subject import Subject

    how: dict[str, Any] = {"budget": budget, "only": only, "progress": progress, "share": share}
    how |= {"baseline": baseline, "on_finding": on_finding}
    if not isinstance(model, Subject):
        loaded = adopted(model, "diagnose")
        chosen = SamplingConfig.of(settings, config or loaded.config)
        for name in ("batch_size", "precision"):
            if name in chosen.changed():
                raise UsageError(f"{name}={chosen.changed()[name]!r} has no effect on a diagnosis, which runs in fp32")
        subject = loaded.subject(data, column=column, length=length, config=chosen)
        return run(cast(Subject, subject), seed=chosen.seed if seed is None else seed, **how)
    for name, given in {"data": data, "length": length, "column": column, "config": config, **settings}.items():
        if given is not None:
            whose = f"a {type(model).__name__}, which brings its own rows and plan"
            raise UsageError(f"{name}={given!r} has no effect on {whose}")
    return run(model, seed=seed or 0, **how)


def audit(
    target: Any = "plan",
    *,
    signature: str | None = None,
    seed: int | None = None,
    progress: Callable[[str], None] | None = None,
    config: SamplingConfig | None = None,
    **settings: Any,
) -> Verdict:
    """Run a sampler with denoisers whose answers are exact, and say what it does wrong (:mod:`unmask.auditing`).

    Args:
        target: a function, or ``"package.module:function"``, or ``"file.py:function"``; ``"plan"`` for ours.
        signature: how the function is called, such as ``"llada"`` or ``"canvas"`` (``unmask list signatures``).
        seed: of everything drawn; the config's when None.
        progress: called with the name of each question.
        config, settings: how our sampler writes, as for :func:`sample`.

    Returns:
        a verdict: ``.status``, ``.findings``, ``.save("audit.html")``; ``.check()`` raises where it fails.

    Raises:
        UsageError: no such function or signature, or a setting that has no effect.
    """
    from unmask.auditing.audit import PLAIN
    from unmask.auditing.audit import audit as run
    from unmask.auditing.foreign import foreign
    from unmask.auditing.subject import planned

    if target == "plan":
        if signature is not None:
            raise UsageError(f"signature={signature!r} has no effect on 'plan', which is our own sampler")
        chosen = SamplingConfig.of(settings, config)
        return run(planned(chosen), name="plan", seed=chosen.seed if seed is None else seed, say=progress)
    if settings or config is not None:
        raise UsageError(f"{next(iter(settings), 'config')} has no effect on somebody else's sampler")
    make, name = foreign(target, signature)
    return run(make, name=name, seed=seed or 0, laws=PLAIN, say=progress)


def _signature(call: Callable[..., Any]) -> inspect.Signature:
    """A call's own parameters with every setting of a config behind them, for help and editors."""
    own = inspect.signature(call)
    parameters = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    taken = {p.name for p in parameters}
    parameters += [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type)
        for f in fields(SamplingConfig)
        if f.name not in taken
    ]
    return own.replace(parameters=parameters)


for _call in (sample, evaluate, diagnose, audit):
    _call.__signature__ = _signature(_call)  # type: ignore[union-attr]
