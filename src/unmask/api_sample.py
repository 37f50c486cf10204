"""Writing with any model that :func:`unmask.load` gives: ``unmask.sample``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from unmask.api_causal import sample_causal
from unmask.api_tidal import sample_tidal
from unmask.core.condition import Condition
from unmask.core.errors import WrongUse
from unmask.core.precision import PRECISIONS, fastest
from unmask.data import ranks
from unmask.decoding.plan import DecodingPlan
from unmask.decoding.sampler import Callback, generate
from unmask.decoding.trace import Trace
from unmask.models.adapters.text import AdapterModel, Prompted
from unmask.models.causal import CausalModel
from unmask.models.text_model import TextModel
from unmask.models.tidal_text import TidalTextModel


@dataclass
class Samples:
    """What a model wrote.

    Attributes:
        texts: one a row.
        sequences: ids [B, L].
        trace: who was unmasked when, or None.
        forwards: body passes.
        model: what wrote them.
        precision: what the network ran in.
    """

    texts: list[str]
    sequences: Tensor
    trace: Trace | None
    forwards: int
    model: TextModel
    precision: str = "fp32"

    def pieces(self, token: int) -> str:
        """The spelling of one id, for traces."""
        return _spelling(self.model)(token)

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
            return self.trace.to_html(path, _spelling(self.model))
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
    precision: Literal["auto", "fp32", "bf16"] = "auto",
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
        precision: what the network runs in; ``auto`` is bf16 on a GPU and whichever multiplies faster on a CPU
            (:func:`unmask.core.precision.choose`). In bf16 rounding depends on the batch: the promise that a row alone
            equals the row in a batch, and that every machine writes the same, holds for ``fp32``.
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
    if precision not in PRECISIONS:
        raise WrongUse(f"precision={precision!r} must be 'auto', 'fp32' or 'bf16'")
    if isinstance(model, TidalTextModel):
        return sample_tidal(model, texts, n, given_of(sample, locals(), "model", "texts", "n"))
    if isinstance(model, CausalModel):
        return sample_causal(model, texts, n, given_of(sample, locals(), "model", "texts", "n"))
    model = denoises(model, "sample")
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
    rows_in = _rows(model, texts, n, length, canvas, condition)
    mine = ranks.share(len(rows_in.x_BL)) if share else range(len(rows_in.x_BL))
    size, width = min(batch_size, len(rows_in.x_BL)), rows_in.x_BL.shape[1]
    chosen = fastest(model.denoiser, size * width, model.device, precision)
    chosen = ranks.from_first(chosen) if share else chosen
    parts, traces, forwards = [], [], 0
    for start in range(mine.start, mine.stop, batch_size):
        rows = torch.arange(start, min(start + batch_size, mine.stop), device=model.device)
        show = _live(model) if live and start == 0 else None
        with chosen.autocast(model.device):
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
    return Samples(rows_in.texts(model, sequences), sequences, whole, forwards, model, chosen.precision)


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


def given_of(call: Any, values: dict[str, Any], *own: str) -> dict[str, Any]:
    """The settings of a call that differ from their defaults."""
    known = inspect.signature(call).parameters
    changed = {k: v for k, v in values.items() if k in known and k not in own}
    return {k: v for k, v in changed.items() if isinstance(v, Tensor) or v != known[k].default}


def _spelling(model: TextModel) -> Callable[[int], str]:
    from unmask.reporting.trace import spelling

    return spelling(model.tokenizer, model.denoiser.mask_id)


def _both(first: Callback | None, second: Callback | None) -> Callback | None:
    if first is None or second is None:
        return first or second

    def call(progress: Any) -> None:
        first(progress)
        second(progress)

    return call


def _live(model: TextModel) -> Callback:
    from unmask.reporting.live import live_callback

    return live_callback(_spelling(model))


def denoises(model: Any, what: str) -> TextModel:
    """The model, if masks can be asked of it.

    Raises:
        WrongUse: a causal model, or none of ours.
    """
    if isinstance(model, CausalModel):
        raise WrongUse(f"{what} scores masked models; `unmask kv {model.name} --keep 1` scores a causal one on texts")
    if not isinstance(model, TextModel):
        raise WrongUse(f"{what} takes a model from unmask.load, not a {type(model).__name__}")
    return model
