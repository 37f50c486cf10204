"""A tidal model scored: bits a character, what it writes, and how much of that is exactly right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unmask.core.files import write_json
from unmask.core.render import page_of, save_page, view_of
from unmask.data.tidal.dataset import Example
from unmask.evaluation.evaluate import generation_metrics
from unmask.evaluation.generation import GenerationScores, score_generation
from unmask.evaluation.scored import LeftOut
from unmask.evaluation.tidal import bits, fitting, write
from unmask.metrics.bootstrap import Interval, ratio_interval
from unmask.models.tidal_text import TidalTextModel


@dataclass(frozen=True)
class TidalEvaluation:
    """Everything that was measured of one tidal model, or plain baseline, on one set of texts.

    Attributes:
        bits: ``bits_per_character``, ``loss`` (nats) and ``accuracy`` a written id; see
            :func:`unmask.diffusion.blocks.bits_per_character`.
        texts: how many texts were scored; characters of all of them together.
        exact: share of the texts written exactly behind their prompts, ends included; None for texts without prompts.
        generation: what it writes, against the data.
        exact_bits: False where the bits are an upper bound (a block in any order).
        about: what was scored and how.
        left_out: how many texts were not scored, and why.
    """

    bits: Mapping[str, float]
    texts: int
    characters: int
    exact: Interval | None
    generation: GenerationScores
    exact_bits: bool
    about: Mapping[str, Any] = field(default_factory=dict)
    left_out: LeftOut | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """Flat numbers, each with its unit in the key."""
        found: dict[str, float] = {
            "texts": self.texts,
            "characters": self.characters,
            "bits_per_character": self.bits["bits_per_character"],
            "loss_nats_per_written_id": self.bits["loss"],
            "accuracy_share": self.bits["accuracy"],
        }

        def put(key: str, interval: Interval, unit: str) -> None:
            found[f"{key}_{unit}"] = interval.value
            found[f"{key}_{unit}_low"], found[f"{key}_{unit}_high"] = interval.low, interval.high

        if self.exact is not None:
            put("exact_with_end", self.exact, "share")
        if self.left_out is not None:
            found |= self.left_out.metrics
        found |= generation_metrics(self.generation, put)
        return {key: float(value) for key, value in found.items() if math.isfinite(value)}

    def tables(self, samples: int = 5) -> list[Any]:
        """The tables for a :class:`rich.console.Console`, with this many samples."""
        return view_of(self, samples=samples)

    def page(self, title: str = "Evaluation") -> str:
        """The page as self-contained HTML."""
        return page_of(self, title=title)

    def save(self, path: str | Path, title: str = "Evaluation") -> Path:
        """Write ``metrics.json`` and ``report.html`` into a folder; returns the page's path."""
        folder = Path(path)
        write_json(folder / "metrics.json", {"metrics": self.metrics, "about": dict(self.about)})
        return save_page(folder / "report.html", self.page(title))


def evaluate_tidal(
    model: TidalTextModel,
    examples: Sequence[Example],
    *,
    training_texts: Sequence[str] | None = None,
    temperature: float | None = None,
    plan: dict[str, Any] | None = None,
    judge: Any = None,
    length: int | None = None,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
) -> TidalEvaluation:
    """Score a tidal model, or a plain baseline, on held-out (prompt, text) pairs.

    Args:
        model: the model.
        examples: pairs; prompts of "" mean texts written from nothing.
        training_texts: for the share of 4-grams that stand in them.
        temperature: of what it writes; None is 0 behind prompts, else 1.
        plan: how a block in any order is filled.
        judge: for GenPPL, or None.
        length: most positions of a row; the card's when None. Texts whose rows are longer are left out and counted.
        seed: of everything random.
        about: carried into the page.

    Raises:
        UsageError: no example fits the model, or a plan for a model that draws characters in order.
    """
    examples, left_out = fitting(model, examples, length)
    prompted = any(prompt for prompt, _ in examples)
    heat = (0.0 if prompted else 1.0) if temperature is None else temperature
    texts = [text for _, text in examples]
    blocks = max(len(model.tokenizer.split(text)) for text in texts)
    written = write(
        model,
        [prompt for prompt, _ in examples],
        max_blocks=blocks + 1,
        temperature=heat,
        seed=seed,
        most=max(32, 2 * max(len(text) for text in texts)),
        plan=plan,
    )
    right = [end and text == wanted for text, wanted, end in zip(written.texts, texts, written.ended, strict=True)]
    return TidalEvaluation(
        bits=bits(model, examples, len(examples), seed, length),
        texts=len(examples),
        characters=sum(map(len, texts)),
        exact=ratio_interval([float(r) for r in right], seed=seed) if prompted else None,
        generation=score_generation(
            written.texts,
            texts,
            inputs=[prompt for prompt, _ in examples] if prompted else None,
            paired=prompted,
            judge=judge,
            training_texts=training_texts,
            seed=seed,
        ),
        exact_bits=not model.denoiser.any_order,
        about={**(about or {}), "temperature": str(heat), "seed": str(seed)},
        left_out=left_out,
    )
