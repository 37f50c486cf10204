"""Texts from semantic vectors by search: the cosine verifier, a model's denoiser and its lexicon, put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unmask.core import distributed
from unmask.core.condition import Condition
from unmask.core.errors import UsageError
from unmask.core.precision import fastest
from unmask.core.sampling_config import SamplingConfig
from unmask.models.text_model import TextModel
from unmask.search.learned import LearnedCorrector
from unmask.search.lexicons import lexicon_of
from unmask.search.loop import Ended, SearchResult, search
from unmask.search.plan import SearchPlan
from unmask.search.verifier import BOUNDS, named, verifier_of
from unmask.search.verifiers.cosine import CosineVerifier, CosineVerifierKind
from unmask.search.writer import MaskFiller

#: the settings of a generation that a search has a use for
HONOURED = frozenset({"verify", *BOUNDS})


def write_from_vectors(
    model: TextModel,
    z_NZ: Tensor,
    config: SamplingConfig,
    *,
    rows: Sequence[int] | None = None,
    on_progress: Callable[[Any], None] | None = None,
    share: bool = False,
    stored: str = "fp32",
    plan: SearchPlan | None = None,
) -> tuple[list[SearchResult], str, float]:
    """What was found for each vector, the precision of the network, and the seconds it took.

    Args:
        model: with its encoder, which verifies.
        z_NZ: the vectors.
        config: ``verify`` is ``cosine``, or such with a threshold.
        rows: numbers of the vectors, which name the noise.
        on_progress: called with each :class:`unmask.search.loop.Rise` and :class:`Ended`.
        share: each process of a launch searches for its part and gets everyone's.
        stored: the precision in which the vectors were kept, which the threshold follows.
        plan: wider or narrower than usual; its bounds and seed are the config's.

    Raises:
        UsageError: another verifier, or vectors of another width.
    """
    started = time.perf_counter()
    kind = verifier_of(config)
    if not isinstance(kind, CosineVerifierKind):
        raise UsageError(f"verify={named(config)!r} does not check {CosineVerifierKind.checks}: 'cosine' does")
    rows = list(range(len(z_NZ))) if rows is None else list(rows)
    encoder = model.encoder
    if z_NZ.shape[1] != encoder.width:
        raise UsageError(
            f"vectors of width {z_NZ.shape[1]} do not fit this model's encoder, whose have {encoder.width}"
        )
    chosen = fastest(model.denoiser, config.batch_size * 32, model.device, config.precision)
    chosen = distributed.broadcast_object(chosen) if share else chosen
    plan = SearchPlan.of(config, plan)
    mine = distributed.split_between_processes(len(rows)) if share else range(len(rows))
    z_BZ = z_NZ[mine.start : mine.stop].float().cpu()
    numbers = rows[mine.start : mine.stop]
    coarse = model.card.load_encoder("bf16") if chosen.precision == "bf16" and model.card.encoder is not None else None
    check = CosineVerifier(
        dict(zip(numbers, z_BZ, strict=True)), encoder, coarse, kind.least(stored), config.batch_size
    )
    lexicon = lexicon_of(model, share)
    lengths = _lengths(model, z_BZ)
    found = search(
        numbers,
        z_BZ,
        check,
        MaskFiller(model.denoiser, model.tokenizer, lambda: chosen.autocast(model.device)),
        lexicon,
        plan,
        lengths_BL=lengths,
        corrector=LearnedCorrector() if model.denoiser.corrects else None,
        on_rise=on_progress,
        on_end=None if on_progress is None else lambda at, one: on_progress(Ended(numbers[at], one)),
    )
    if share:
        found = distributed.gather_object(found)
    return found, chosen.precision, time.perf_counter() - started


def _lengths(model: TextModel, z_BZ: Tensor) -> Tensor | None:
    """Log probabilities of 1..L tokens, of a model that knows them."""
    if not len(z_BZ):
        return None
    with torch.no_grad():
        found = model.denoiser.length_log_probs(Condition.of(z_BZ.to(model.device)), len(z_BZ))
    return None if found is None else found.float().cpu()
