"""An evaluation as tables for the terminal and as a page: of a masked model, and of a tidal one."""

from __future__ import annotations

from typing import Any

from unmask.core.render import page_of
from unmask.evaluation.evaluate import Evaluation
from unmask.evaluation.latent_use import FALSE
from unmask.evaluation.tidal_report import TidalEvaluation
from unmask.reporting.page import Embed, Figure, PageBlock, PageTable, Section, Text, Tiles, render_page
from unmask.reporting.plots import length_plot, ratio_plot
from unmask.reporting.tables import (
    between,
    latent_table,
    likelihood_table,
    match_table,
    number,
    quality_table,
    ratio_table,
    sample_table,
    terminal,
)

#: sample rows in the terminal and in the page
SHOWN, SHOWN_IN_PAGE = 5, 24


def tables(result: Evaluation, samples: int = SHOWN) -> list[Any]:
    """The tables for a :class:`rich.console.Console`."""
    return [terminal(grid) for grid in grids(result, samples)]


def tidal_tables(result: TidalEvaluation, samples: int = SHOWN) -> list[Any]:
    """The tables for a :class:`rich.console.Console`."""
    return [terminal(grid) for grid in tidal_grids(result, samples)]


def grids(result: Evaluation, samples: int = SHOWN) -> list[PageTable]:
    """Every table, for the terminal and the page."""
    found = [likelihood_table(result.likelihood, result.latent is not None, result.notes)]
    if result.latent is not None:
        found.append(latent_table(result.latent))
    found.append(ratio_table(result.likelihood, result.latent))
    if result.generation is not None:
        if result.generation.match is not None:
            found.append(match_table(result.generation.match, len(result.generation.outputs)))
        found += [quality_table(result.generation), sample_table(result.generation, samples)]
    return found


def page(result: Evaluation, title: str = "Evaluation") -> str:
    """The page of an evaluation as self-contained HTML."""
    one, text = result.likelihood, result.likelihood.text
    found = {grid.title: grid for grid in grids(result, SHOWN_IN_PAGE)}
    lines = {"true latent" if result.latent else "text": text.loss()}
    if result.latent is not None:
        lines |= {name: result.latent.false[name].text.loss() for name in FALSE}
    loss = ratio_plot(text, lines, "loss, nats/token", "Loss by masked fraction")
    hits = {"text": text.accuracy()}
    if one.padding.count_NK.any():
        hits["padding"] = one.padding.accuracy()
    accuracy = ratio_plot(text, hits, "accuracy, share", "Accuracy by masked fraction")
    caption = "Mean loss at text positions, 95 % intervals over texts."
    if result.latent is not None:
        caption += " Where the lines meet, the model does not need its latent; apart at r = 1, it writes from it."
    likelihood: list[PageBlock] = [found["Bound on the likelihood"], Figure(loss, caption)]
    if result.latent is not None:
        likelihood.insert(1, found["Use of the latent"])
    likelihood += [Figure(accuracy, "Share of hidden tokens whose most probable id is right.")]
    sections = [
        Section("At a glance", [Tiles(_tiles(result))]),
        Section("Likelihood", [*likelihood, found["By masked fraction"]]),
    ]
    if result.generation is not None:
        g = result.generation
        lengths = length_plot(g.lengths_N, g.data_lengths_M, g.length_unit)
        match = [found["Outputs against references"]] if g.match is not None else []
        written: list[PageBlock] = [*match, found["How it reads"], Figure(lengths, "Where texts end.")]
        sections += [Section("What it writes", written), Section("Samples", [found["Prompt beside output"]])]
    if result.trace is not None:
        spelled = page_of(result.trace, piece=lambda token: result.pieces.get(token, f"{token} "))
        sections.append(Section("One unmasking", [Embed(spelled, "One unmasking, step by step")]))
    reasons = [Text(f"{name}: {reason}") for name, reason in result.not_measured.items()]
    if reasons:
        sections.append(Section("Not measured", reasons))
    about = " · ".join(f"{key}: {value}" for key, value in result.about.items())
    subtitle = f"{len(one.tokens_N)} held-out texts, {int(one.tokens_N.sum())} tokens"
    return render_page(title, sections, subtitle=subtitle, footer=about)


def _tiles(result: Evaluation) -> list[tuple[str, str, str]]:
    bits = result.likelihood.bits_per_token()
    tiles = [("NELBO", f"{bits.value:.2f}", "bits/token, lower is better")]
    tiles.append(("loss at r = 1", f"{result.likelihood.text.loss()[-1].value:.2f}", "nats/token, nothing visible"))
    if result.latent is not None:
        gap = result.latent.penalty_by_ratio("shuffled")[-1]
        tiles.append(("D_shuffled at r = 1", f"{gap.value:.2f}", "nats/token; near 0: latent unused"))
    if result.generation is None:
        return tiles
    if result.generation.match is not None:
        match = result.generation.match
        tiles.append(("word recall", f"{100 * match.word_recall.value:.0f} %", "of the reference's words"))
        tiles.append(("BLEU", f"{match.bleu.bleu:.1f}", f"exact match {100 * match.exact_match.value:.1f} %"))
    ours, data = result.generation.quality, result.generation.data_quality
    if ours.gen_ppl is not None and data.gen_ppl is not None:
        note = f"data {data.gen_ppl.value:.0f}; entropy {ours.entropy_nats.value:.2f}, "
        note += f"data {data.entropy_nats.value:.2f} nats"
        tiles.append(("GenPPL", f"{ours.gen_ppl.value:.0f}", note))
    return tiles


def tidal_grids(result: TidalEvaluation, samples: int = SHOWN) -> list[PageTable]:
    """Every table of a tidal model, for the terminal and the page."""
    bound = "" if result.exact_bits else " (upper bound)"
    rows = [
        (f"bits a character{bound}", number(result.bits["bits_per_character"])),
        ("loss, nats a written id", number(result.bits["loss"])),
        ("most probable id is right", f"{100 * result.bits['accuracy']:.1f} %"),
    ]
    if result.exact is not None:
        rows.append(("written exactly, end included", between(result.exact)))
    note = f"{result.texts} held-out texts, {result.characters:,} characters; their ends are paid for."
    if result.left_out is not None and result.left_out.count:
        note += f" {result.left_out}."
    found = [PageTable("Likelihood", ("measure", "value"), rows, note=note)]
    if result.generation.match is not None:
        found.append(match_table(result.generation.match, len(result.generation.outputs)))
    return [*found, quality_table(result.generation), sample_table(result.generation, samples)]


def tidal_page(result: TidalEvaluation, title: str = "Evaluation") -> str:
    """The page of a tidal model as self-contained HTML."""
    tiles = [("bits a character", f"{result.bits['bits_per_character']:.3f}", "lower is better")]
    if result.exact is not None:
        tiles.append(("exact", f"{100 * result.exact.value:.1f} %", "of the texts, end included"))
    about = " · ".join(f"{key}: {value}" for key, value in result.about.items())
    sections = [Section("At a glance", [Tiles(tiles)]), Section("Measured", tidal_grids(result, SHOWN_IN_PAGE))]
    return render_page(title, sections, subtitle=f"{result.texts} held-out texts", footer=about)
