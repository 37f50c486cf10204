"""One evaluation of a model: numbers for machines, tables for the terminal, a page for reading."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from unmask.core.denoiser import Denoiser
from unmask.core.unknown import UnknownTokens
from unmask.diffusion.process import MaskLaw
from unmask.evaluation import tables
from unmask.evaluation.generation import GenerationScores
from unmask.evaluation.judge import quality_metrics
from unmask.evaluation.latent_use import FALSE, LatentUse, latent_use, posterior_of
from unmask.evaluation.likelihood import Likelihood, bound
from unmask.evaluation.page import Block, Embed, Figure, Section, Table, Text, Tiles, render_page, write_page
from unmask.evaluation.scored import LeftOut, Scored
from unmask.metrics.bootstrap import Interval

#: sample rows in the terminal and in the page
SHOWN, SHOWN_IN_PAGE = 5, 24
#: keys of a bin of masked fractions, and of the ends of an interval
_OF_BIN = re.compile(r"_r[0-9.]+(-[0-9.]+)?_|_(low|high)$")


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured of one model on one set of texts.

    Attributes:
        likelihood: the bound and the losses behind it.
        latent: the same under false latents; None for a model without one.
        generation: what it writes; None where nothing was sampled.
        trace_html: a page of one unmasking, shown in a frame.
        about: what was scored and how (model, data, order, steps, seed ...), shown and saved as it is.
        left_out: how many texts were not scored, and why; None where that is not known.
        unknown: how many of the scored tokens the tokenizer does not know; None where that is not known.
        notes: what a reader has to be told of the texts, one sentence each.
    """

    likelihood: Likelihood
    latent: LatentUse | None = None
    generation: GenerationScores | None = None
    trace_html: str | None = None
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

    def grids(self, samples: int = SHOWN) -> list[Table]:
        """Every table, for the terminal and the page."""
        grids = [tables.likelihood_table(self.likelihood, self.latent is not None, self.notes)]
        if self.latent is not None:
            grids.append(tables.latent_table(self.latent))
        grids.append(tables.ratio_table(self.likelihood, self.latent))
        if self.generation is not None:
            if self.generation.match is not None:
                grids.append(tables.match_table(self.generation.match, len(self.generation.outputs)))
            grids += [tables.quality_table(self.generation), tables.sample_table(self.generation, samples)]
        return grids

    def tables(self, samples: int = SHOWN) -> list[Any]:
        """The tables for a :class:`rich.console.Console`."""
        return [tables.terminal(grid) for grid in self.grids(samples)]

    def page(self, title: str = "Evaluation") -> str:
        """The page as self-contained HTML."""
        from unmask.evaluation.plots import length_plot, ratio_plot

        one, text = self.likelihood, self.likelihood.text
        grids = {grid.title: grid for grid in self.grids(SHOWN_IN_PAGE)}
        lines = {"true latent" if self.latent else "text": text.loss()}
        if self.latent is not None:
            lines |= {name: self.latent.false[name].text.loss() for name in FALSE}
        loss = ratio_plot(text, lines, "loss, nats/token", "Loss by masked fraction")
        hits = {"text": text.accuracy()}
        if one.padding.count_NK.any():
            hits["padding"] = one.padding.accuracy()
        accuracy = ratio_plot(text, hits, "accuracy, share", "Accuracy by masked fraction")
        caption = "Mean loss at text positions, 95 % intervals over texts."
        if self.latent is not None:
            caption += " Where the lines meet, the model does not need its latent; apart at r = 1, it writes from it."
        likelihood: list[Block] = [grids["Bound on the likelihood"], Figure(loss, caption)]
        if self.latent is not None:
            likelihood.insert(1, grids["Use of the latent"])
        likelihood += [Figure(accuracy, "Share of hidden tokens whose most probable id is right.")]
        sections = [
            Section("At a glance", [Tiles(self._tiles())]),
            Section("Likelihood", [*likelihood, grids["By masked fraction"]]),
        ]
        if self.generation is not None:
            g = self.generation
            lengths = length_plot(g.lengths_N, g.data_lengths_M, g.length_unit)
            match = [grids["Outputs against references"]] if g.match is not None else []
            written: list[Block] = [*match, grids["How it reads"], Figure(lengths, "Where texts end.")]
            sections += [Section("What it writes", written), Section("Samples", [grids["Prompt beside output"]])]
        if self.trace_html is not None:
            sections.append(Section("One unmasking", [Embed(self.trace_html, "One unmasking, step by step")]))
        reasons = [Text(f"{name}: {reason}") for name, reason in self.not_measured.items()]
        if reasons:
            sections.append(Section("Not measured", reasons))
        about = " · ".join(f"{key}: {value}" for key, value in self.about.items())
        subtitle = f"{len(one.tokens_N)} held-out texts, {int(one.tokens_N.sum())} tokens"
        return render_page(title, sections, subtitle=subtitle, footer=about)

    def _tiles(self) -> list[tuple[str, str, str]]:
        bits = self.likelihood.bits_per_token()
        tiles = [("NELBO", f"{bits.value:.2f}", "bits/token, lower is better")]
        tiles.append(("loss at r = 1", f"{self.likelihood.text.loss()[-1].value:.2f}", "nats/token, nothing visible"))
        if self.latent is not None:
            gap = self.latent.penalty_by_ratio("shuffled")[-1]
            tiles.append(("D_shuffled at r = 1", f"{gap.value:.2f}", "nats/token; near 0: latent unused"))
        if self.generation is None:
            return tiles
        if self.generation.match is not None:
            match = self.generation.match
            tiles.append(("word recall", f"{100 * match.word_recall.value:.0f} %", "of the reference's words"))
            tiles.append(("BLEU", f"{match.bleu.bleu:.1f}", f"exact match {100 * match.exact_match.value:.1f} %"))
        ours, data = self.generation.quality, self.generation.data_quality
        if ours.gen_ppl is not None and data.gen_ppl is not None:
            note = f"data {data.gen_ppl.value:.0f}; entropy {ours.entropy_nats.value:.2f}, "
            note += f"data {data.entropy_nats.value:.2f} nats"
            tiles.append(("GenPPL", f"{ours.gen_ppl.value:.0f}", note))
        return tiles

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
        write_page(page.parent / "metrics.json", json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        return write_page(page, self.page(title))


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
    trace_html: str | None = None,
    about: Mapping[str, Any] | None = None,
    law: MaskLaw | None = None,
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
        trace_html, about: carried into the page.
        law, samples, batch_size, seed, share: see :func:`unmask.evaluation.likelihood.bound`.
        open_NL, valid_NL: likewise, for a model without a latent.
        texts: where ``ids_NL`` come from, to say what was left out.
    """
    settings: dict[str, Any] = {"law": law, "samples": samples, "batch_size": batch_size, "seed": seed, "share": share}
    latent = None
    if latents_NZ is not None:
        latent = latent_use(denoiser, ids_NL, latents_NZ, posterior=posterior_of(denoiser), **settings)
    if latent is None:
        likelihood = bound(denoiser, ids_NL, open_NL=open_NL, valid_NL=valid_NL, **settings)
    else:
        likelihood = latent.true
    said: dict[str, Any] = {}
    if texts is not None:
        said = {"left_out": texts.left_out, "unknown": texts.unknown, "notes": texts.notes}
    return Evaluation(likelihood, latent, generation, trace_html, dict(about or {}), **said)
