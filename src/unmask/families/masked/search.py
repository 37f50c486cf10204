"""Texts of masked models that a verifier of texts accepts: drafted, checked, mended."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from unmask.core import distributed
from unmask.core.model import Model, Output, SamplingRequest
from unmask.core.precision import fastest
from unmask.core.sampling_config import SamplingConfig
from unmask.core.verifier import Verifier
from unmask.decoding.plan import DecodingPlan
from unmask.models.text_model import Laid, TextModel
from unmask.search.canvas import REDRAW, CanvasRewriter
from unmask.search.mend import mend
from unmask.search.plan import SearchPlan
from unmask.search.trace import output_of


def before(laid: Laid, task: SamplingRequest) -> list[str]:
    """What stands before the text of each row: a prompt that is continued; "" where a text comes back whole."""
    count = len(laid.x_BL)
    texts = [text for text in task.texts or [] for _ in range(task.n or 1)]
    if laid.whole_B is None or len(texts) != count:
        return [""] * count
    whole = laid.whole_B.tolist()
    return [text if isinstance(text, str) and not own else "" for text, own in zip(texts, whole, strict=True)]


def written(
    model: TextModel,
    laid: Laid,
    plan: DecodingPlan,
    verifier: Verifier,
    task: SamplingRequest,
    config: SamplingConfig,
) -> Output:
    """What :func:`unmask.search.mend.mend` finds for the rows of a canvas."""
    started, count = time.perf_counter(), len(laid.x_BL)
    chosen = fastest(model.denoiser, min(config.batch_size, count) * laid.x_BL.shape[1], model.device, config.precision)
    chosen = distributed.broadcast_object(chosen) if task.share else chosen
    mine = distributed.split_between_processes(count) if task.share else range(count)
    again = REDRAW if config.temperature is None else plan.temperature
    writer = CanvasRewriter(
        model.denoiser,
        model.tokenizer,
        laid,
        model.read,
        plan,
        again,
        lambda: chosen.autocast(model.device),
        config.batch_size,
    )
    call = task.callback
    found = mend(mine, verifier, writer, SearchPlan.of(config), on_rise=call, on_end=call)
    found = distributed.gather_object(found) if task.share else found
    rows = [one.path[-1].draft.state if one.path else laid.x_BL[n] for n, one in enumerate(found)]
    assert isinstance(model, Model)
    return output_of(
        found,
        config,
        texts=[one.text for one in found],
        sequences=torch.stack([row.to(model.device) for row in rows]),
        model=model,
        prompts=None if task.texts is None else [text for text in task.texts for _ in range(task.n or 1)],
        written=replace(config, steps=plan.steps, temperature=plan.temperature),
        precision=chosen.precision,
        trace=task.trace,
        seconds=time.perf_counter() - started,
    )
