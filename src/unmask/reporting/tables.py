"""The tables of an evaluation: built once, shown in the terminal and in the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table as RichTable
from rich.text import Text

from unmask.evaluation.generation import GenerationScores, Match
from unmask.evaluation.judge import Quality
from unmask.evaluation.latent_use import FALSE, LatentUse
from unmask.evaluation.likelihood import Likelihood
from unmask.metrics.bootstrap import Interval
from unmask.reporting.page import PageTable

_DASH = "\u2013"


def number(value: float, digits: int = 3) -> str:
    """A number as text with few digits; a dash for NaN."""
    if math.isnan(value):
        return _DASH
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:,.0f}"


def between(interval: Interval | None, digits: int = 3) -> str:
    """``value [low, high]``."""
    if interval is None or math.isnan(interval.value):
        return _DASH
    if math.isnan(interval.low):
        return number(interval.value, digits)
    return f"{number(interval.value, digits)} [{number(interval.low, digits)}, {number(interval.high, digits)}]"


def likelihood_table(likelihood: Likelihood, conditional: bool, notes: Sequence[str] = ()) -> PageTable:
    """A table of the likelihood bound in its units.

    Args:
        likelihood, conditional: what was measured, and whether given a latent.
        notes: what a reader has to be told of the texts, one sentence each.
    """
    given = " given the latent" if conditional else ""
    rows = [
        (f"NELBO{given}, bits/token", between(likelihood.bits_per_token())),
        (f"NELBO{given}, nats/token", between(likelihood.nats_per_token())),
        ("perplexity bound, per token", between(likelihood.perplexity_bound(), 2)),
        ("mean loss on hidden tokens, nats/token (not a bound)", between(likelihood.masked_nats_per_token())),
        ("loss at r = 1, nats/token", between(likelihood.text.loss()[-1])),
    ]
    if likelihood.length_nats_N is not None:
        rows.append(("length, nats/text (in the NELBO)", number(float(likelihood.length_nats_N.mean()))))
    if likelihood.kl_N is not None:
        rows.append(("KL of the bottleneck, nats/text (not in the NELBO)", number(float(likelihood.kl_N.mean()))))
    padding = "scored but not counted as tokens" if pays_padding(likelihood) else "neither scored nor counted"
    tokens = "tokens with EOS" if likelihood.length_nats_N is None else "tokens"
    said = [
        f"{len(likelihood.tokens_N)} texts, {int(likelihood.tokens_N.sum())} {tokens}, "
        f"{likelihood.samples} corruptions a text. Padding is {padding}.",
        *notes,
        *_odd([interval.value for interval in (likelihood.nats_per_token(), likelihood.masked_nats_per_token())]),
    ]
    return PageTable("Bound on the likelihood", ("measure", "value [95 % interval]"), rows, note=" ".join(said))


def pays_padding(likelihood: Likelihood) -> bool:
    """Whether padding is among what is scored: so for models that were trained to write it, and only for these."""
    return bool(likelihood.padding.count_NK.any())


def _odd(values: Sequence[float]) -> list[str]:
    """What a dash or an infinity among some numbers means."""
    said = []
    if any(math.isnan(value) for value in values):
        said.append(f"{_DASH}: there was nothing to measure it on.")
    if any(math.isinf(value) for value in values):
        said.append("inf: the model gives a token of the texts no probability at all.")
    return said


def ratio_table(likelihood: Likelihood, latent: LatentUse | None) -> PageTable:
    """A table of loss, accuracy and penalties by mask ratio."""
    names = [] if latent is None else list(FALSE)
    padded = pays_padding(likelihood)
    columns = ["masked fraction", "loss", "accuracy, %"] + ["padding loss"] * padded + [f"{name}, +" for name in names]
    loss, accuracy, padding = likelihood.text.loss(), likelihood.text.accuracy(), likelihood.padding.loss()
    penalties = [] if latent is None else [latent.penalty_by_ratio(name) for name in names]
    rows = [
        [
            label,
            number(loss[k].value),
            number(100 * accuracy[k].value, 1),
            *([number(padding[k].value)] if padded else []),
            *(number(p[k].value) for p in penalties),
        ]
        for k, label in enumerate(likelihood.text.labels())
    ]
    note = "Losses in nats a token."
    if latent is not None:
        note += " The last columns: how much the loss rises under another text's latent, the null, and noise."
    note = " ".join([note, *_odd([one.value for one in (*loss, *(padding if padded else []))])])
    return PageTable("By masked fraction", columns, rows, note=note)


def latent_table(latent: LatentUse) -> PageTable:
    """A table of the penalties of false latents, and of the bottleneck."""
    what = {"shuffled": "another text's latent", "null": "the trained null", "noise": "noise of the same covariance"}
    rows = [
        (f"D_{name}: {what[name]}", between(latent.penalty(name)), between(latent.penalty_by_ratio(name)[-1]))
        for name in FALSE
    ]
    note = "Nats a text token by which the bound (padding or length is part of it) and the loss with nothing visible "
    note += "get worse. Near 0: latent unused."
    if latent.posterior is not None:
        p = latent.posterior
        note += (
            f" Bottleneck: {p.active_units} of {p.units} units active, KL {number(p.kl_nats, 2)} nats/text, "
            f"mutual information {number(p.mutual_information_nats, 2)} nats (at most {number(p.ceiling_nats, 2)})."
        )
    measured = [latent.penalty(name) for name in FALSE] + [latent.penalty_by_ratio(name)[-1] for name in FALSE]
    note = " ".join([note, *_odd([interval.value for interval in measured])])
    return PageTable("Use of the latent", ("false latent", "on the NELBO", "at r = 1"), rows, note=note)


def match_table(match: Match, texts: int) -> PageTable:
    """A table of outputs scored against their references."""

    def percent(interval: Interval) -> str:
        return between(interval.map(lambda share: 100 * share), 1)

    rows = [
        ("exact match, %", percent(match.exact_match)),
        ("token accuracy by position, %", percent(match.token_accuracy)),
        ("word recall, %", percent(match.word_recall)),
        ("BLEU, 0-100", number(match.bleu.bleu, 1)),
        ("BLEU-1, 0-100", number(match.bleu.bleu_1, 1)),
    ]
    if match.copy_bleu is not None and match.input_bleu is not None:
        rows.append(("BLEU against the input (copying), 0-100", number(match.copy_bleu.bleu, 1)))
        rows.append(("BLEU of reference against input, 0-100", number(match.input_bleu.bleu, 1)))
    return PageTable("Outputs against references", ("measure", "value [95 % interval]"), rows, note=f"{texts} texts.")


def quality_table(scores: GenerationScores) -> PageTable:
    """GenPPL with everything it must stand beside, generated against data."""
    ours, data = scores.quality, scores.data_quality

    def row(name: str, get: Any, digits: int = 3) -> tuple[str, str, str]:
        def show(quality: Quality) -> str:
            value = get(quality)
            return number(value, digits) if isinstance(value, float) else between(value, digits)

        return name, show(ours), show(data)

    rows = [
        row("entropy of a text, nats", lambda q: q.entropy_nats),
        row("entropy of the sample, nats", lambda q: q.pooled_entropy_nats),
        row("distinct-1, share", lambda q: q.distinct_1),
        row("distinct-2, share", lambda q: q.distinct_2),
        row("distinct-3, share", lambda q: q.distinct_3),
        row("rep-2, share", lambda q: q.rep_2),
        row("rep-3, share", lambda q: q.rep_3),
        row("rep-4, share", lambda q: q.rep_4),
        ("MAUVE, 0-1", "not measured" if ours.mauve.value is None else number(ours.mauve.value), _DASH),
        (f"length, {scores.length_unit}", number(scores.length.mean, 1), number(scores.length.data_mean, 1)),
        (f"length distance (Wasserstein), {scores.length_unit}", number(scores.length.wasserstein, 2), _DASH),
    ]
    if ours.judge is not None:
        rows.insert(0, row(f"GenPPL under {ours.judge}", lambda q: q.gen_ppl, 1))
    if scores.overlap is not None:
        overlap = scores.overlap
        rows.append((f"{overlap.n}-grams found in training text", number(overlap.generated), number(overlap.held_out)))
    first = "conditioned on BOS" if ours.bos else "context only, not scored"
    note = f"Entropy, distinct-n and rep-n count {ours.unit}."
    if ours.judge is not None:
        note += f" The first token is {first}."
    if str(ours.unknown):
        note += f" Of what was generated {ours.unknown} to the judge."
    if ours.unscored:
        note += f" {ours.unscored} of {ours.texts} texts were too short to be scored."
    if ours.mauve.missing is not None:
        note += f" MAUVE {ours.mauve.missing}."
    shares = (q for both in (ours, data) for q in (both.entropy_nats, both.rep_2, both.rep_3, both.rep_4))
    note = " ".join([note, *_odd([interval.value for interval in shares])])
    return PageTable("How it reads", ("measure", "generated", "data"), rows, note=note)


def sample_table(scores: GenerationScores, count: int) -> PageTable:
    """A table of prompts beside outputs."""
    if scores.inputs is None:
        return PageTable("Prompt beside output", ("output",), [(text,) for text in scores.outputs[:count]], align="l")
    if scores.inputs == scores.references:
        pairs = zip(scores.inputs[:count], scores.outputs[:count], strict=True)
        return PageTable("Prompt beside output", ("text given", "output"), list(pairs), align="ll")
    rows = zip(scores.inputs[:count], scores.outputs[:count], scores.references[:count], strict=True)
    return PageTable("Prompt beside output", ("text given", "output", "reference"), list(rows), align="lll")


def terminal(table: PageTable) -> RichTable:
    """A :class:`rich.table.Table`; texts cannot smuggle in markup."""
    shown = RichTable(title=table.title, title_justify="left", title_style="bold", caption_justify="left")
    for column, align in zip(table.columns, table.align, strict=True):
        shown.add_column(column, justify="right" if align == "r" else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(cell) for cell in row))
    if table.note:
        shown.caption = Text(table.note)
    return shown
