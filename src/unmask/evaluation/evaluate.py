"""One evaluation of a model: numbers for machines, tables for the terminal, a page for reading."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from unmask.core.denoiser import Denoiser
from unmask.core.files import write_json
from unmask.core.render import page_of, save_page, view_of
from unmask.core.unknown import UnknownTokens
from unmask.decoding.trace import Trace
from unmask.diffusion.process import MaskingProcess
from unmask.evaluation.generation import GenerationScores
from unmask.evaluation.judge import quality_metrics
from unmask.evaluation.latent_use import FALSE, LatentUse, latent_use
from unmask.evaluation.likelihood import Likelihood, bound
from unmask.evaluation.scored import LeftOut, Scored
from unmask.metrics.bootstrap import Interval

#: keys of a bin of masked fractions, and of the ends of an interval
_OF_BIN = re.compile(r"_r[0-9.]+(-[0-9.]+)?_|_(low|high)$")


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured of one model on one set of texts.

    Attributes:
        likelihood: the bound and the losses behind it.
        latent: the same under false latents; None for a model without one.
        generation: what it writes; None where nothing was sampled.
        trace: of one text, who was unmasked when; None where that was not kept.
        pieces: how the ids of the trace are spelled.
        about: what was scored and how (model, data, order, steps, seed ...), shown and saved as it is.
        left_out: how many texts were not scored, and why; None where that is not known.
        unknown: how many of the scored tokens the tokenizer does not know; None where that is not known.
        notes: what a reader has to know of the texts, one sentence each.
    """

    likelihood: Likelihood
    latent: LatentUse | None = None
    generation: GenerationScores | None = None
    trace: Trace | None = None
    pieces: Mapping[int, str] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    left_out: LeftOut | None = None
    unknown: UnknownTokens | None = None
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> dict[str, float]:
        """Flat numbers, each with its unit in the key; what was not measured is absent (see :attr:`not_measured`)."""
        return {key: float(value) for key, value in self._numbers.items() if math.isfinite(value)}

    @cached_property
    def _numbers(self) -> dict[str, float]:
        found: dict[str, float] = {"texts": len(self.likelihood.tokens_N), "tokens": self.likelihood.tokens_N.sum()}

        def put(key: str, interval: Interval, unit: str) -> None:
            found[f"{key}_{unit}"] = interval.value
            found[f"{key}_{unit}_low"], found[f"{key}_{unit}_high"] = interval.low, interval.high

        one = self.likelihood
        put("nelbo", one.bits_per_token(), "bits_per_token")
        put("nelbo", one.nats_per_token(), "nats_per_token")
        put("perplexity_bound", one.perplexity_bound(), "per_token")
        put("masked_loss", one.masked_nats_per_token(), "nats_per_token")
        for label, loss, accuracy in zip(one.text.labels(), one.text.loss(), one.text.accuracy(), strict=True):
            put(f"loss_r{label}", loss, "nats_per_token")
            found[f"accuracy_r{label}_share"] = accuracy.value
        if one.length_nats_N is not None:
            found["length_nats_per_text"] = float(one.length_nats_N.mean())
        if one.kl_N is not None:
            found["kl_nats_per_text"] = float(one.kl_N.mean())
        if self.latent is not None:
            for name in FALSE:
                put(f"d_{name}", self.latent.penalty(name), "nats_per_token")
                for label, gap in zip(one.text.labels(), self.latent.penalty_by_ratio(name), strict=True):
                    put(f"d_{name}_r{label}", gap, "nats_per_token")
            if self.latent.posterior is not None:
                posterior = self.latent.posterior
                found["bottleneck_units"], found["active_units"] = posterior.units, posterior.active_units
                found["mutual_information_nats_per_text"] = posterior.mutual_information_nats
                found["mutual_information_ceiling_nats"] = posterior.ceiling_nats
        if self.left_out is not None:
            found |= self.left_out.metrics
        if self.unknown is not None:
            found["unknown_tokens_share"] = self.unknown.share
        if self.generation is not None:
            found |= generation_metrics(self.generation, put)
        return found

    @property
    def not_measured(self) -> dict[str, str]:
        """What a reader might look for, and why it is not there."""
        missing = {
            key: "infinite: a token has no probability at all" if math.isinf(value) else "there was nothing to measure"
            for key, value in self._numbers.items()
            # short texts leave bins empty, and few texts give no interval; the tables show both
            if math.isinf(value) or (math.isnan(value) and not _OF_BIN.search(key))
        }
        if self.latent is None:
            missing["latent_use"] = "not measured: the model takes no latent"
        elif self.latent.posterior is None:
            missing["active_units"] = "not measured: the model has no variational bottleneck"
        if self.generation is None:
            missing["generation"] = "not measured: nothing was sampled"
            return missing
        if self.generation.quality.judge is None:
            missing["gen_ppl"] = "not measured: no judge was given"
        elif self.generation.quality.gen_ppl is None or math.isnan(self.generation.quality.gen_ppl.value):
            missing["gen_ppl"] = "not measured: no text was long enough for the judge"
        if self.generation.quality.mauve.missing is not None:
            missing["mauve"] = self.generation.quality.mauve.missing
        if self.generation.overlap is None:
            missing["ngram_overlap"] = "not measured: no training text was given"
        return missing

    def tables(self, samples: int = 5) -> list[Any]:
        """The tables for a :class:`rich.console.Console`, with this many samples."""
        return view_of(self, samples=samples)

    def page(self, title: str = "Evaluation") -> str:
        """The page as self-contained HTML."""
        return page_of(self, title=title)

    def save(self, path: str | Path, title: str = "Evaluation") -> Path:
        """Write ``metrics.json`` and ``report.html`` into a folder; returns the page's path.

        A path that ends in ``.html`` names the page, with ``metrics.json`` beside it.
        """
        path = Path(path)
        page = path if path.suffix == ".html" else path / "report.html"
        about = dict(self.about)
        if self.generation is not None and self.generation.quality.judge_identity is not None:
            about["judge"] = self.generation.quality.judge_identity
        tree = {"metrics": self.metrics, "not_measured": self.not_measured, "notes": list(self.notes), "about": about}
        write_json(page.parent / "metrics.json", tree)
        return save_page(page, self.page(title))


def generation_metrics(scores: GenerationScores, put: Callable[[str, Interval, str], None]) -> dict[str, float]:
    """Flat numbers of what was written; ``put(key, interval, unit)`` takes those with an interval."""
    found: dict[str, float] = {"generated_texts": len(scores.outputs)}
    if scores.match is not None:
        match = scores.match
        put("exact_match", match.exact_match, "share")
        put("token_accuracy", match.token_accuracy, "share")
        put("word_recall", match.word_recall, "share")
        found |= {"bleu_0_to_100": match.bleu.bleu, "bleu_1_0_to_100": match.bleu.bleu_1}
        if match.copy_bleu is not None and match.input_bleu is not None:
            found["copy_bleu_0_to_100"] = match.copy_bleu.bleu
            found["input_bleu_0_to_100"] = match.input_bleu.bleu
    found |= quality_metrics(scores.quality) | quality_metrics(scores.data_quality, "data_")
    unit = scores.length_unit
    found[f"length_mean_{unit}"], found[f"data_length_mean_{unit}"] = scores.length.mean, scores.length.data_mean
    found[f"length_wasserstein_{unit}"], found["length_ks_share"] = scores.length.wasserstein, scores.length.ks
    if scores.overlap is not None:
        n = scores.overlap.n
        found[f"overlap_{n}gram_share"] = scores.overlap.generated
        found[f"data_overlap_{n}gram_share"] = scores.overlap.held_out
    return found


def evaluate(
    denoiser: Denoiser,
    ids_NL: Tensor,
    *,
    latents_NZ: Tensor | None = None,
    generation: GenerationScores | None = None,
    trace: Trace | None = None,
    pieces: Mapping[int, str] | None = None,
    about: Mapping[str, Any] | None = None,
    law: MaskingProcess | None = None,
    samples: int = 8,
    batch_size: int = 64,
    seed: int = 0,
    open_NL: Tensor | None = None,
    valid_NL: Tensor | None = None,
    texts: Scored | None = None,
    share: bool = False,
) -> Evaluation:
    """Score a model on held-out texts: the bound, its latent where it has one, and what was written beside them.

    Args:
        denoiser: the model.
        ids_NL: clean ids of held-out texts, padded to the canvas.
        latents_NZ: the latent each is written from, for a conditional model; without it such a model is scored under
            its null condition.
        generation: from :func:`unmask.evaluation.generation.score_generation`.
        trace, pieces, about: carried along.
        law, samples, batch_size, seed, share: see :func:`unmask.evaluation.likelihood.bound`.
        open_NL, valid_NL: likewise, for a model without a latent.
        texts: where ``ids_NL`` come from, to say what was left out.
    """
    settings: dict[str, Any] = {"law": law, "samples": samples, "batch_size": batch_size, "seed": seed, "share": share}
    latent = None
    if latents_NZ is not None:
        latent = latent_use(denoiser, ids_NL, latents_NZ, **settings)
    if latent is None:
        likelihood = bound(denoiser, ids_NL, open_NL=open_NL, valid_NL=valid_NL, **settings)
    else:
        likelihood = latent.true
    said: dict[str, Any] = {}
    if texts is not None:
        said = {"left_out": texts.left_out, "unknown": texts.unknown, "notes": texts.notes}
    return Evaluation(likelihood, latent, generation, trace, dict(pieces or {}), dict(about or {}), **said)
