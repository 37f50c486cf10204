"""What training shows as it goes: texts written anew, and how good they are."""

from __future__ import annotations

from typing import Any

from unmask.api_sample import sample
from unmask.core.errors import WrongUse
from unmask.decoding.plan import DecodingPlan
from unmask.training.recipe import Recipe


def check_probe(recipe: Recipe) -> None:
    """Refuse what would only be found out at the first evaluation.

    Raises:
        WrongUse: the probe's order or number of steps.
    """
    t = recipe.train
    if recipe.model.family != "tidal" and t.probe_texts:
        try:
            DecodingPlan(order=t.probe_order, steps=t.probe_steps, quota="linear")
        except WrongUse as error:
            raise WrongUse(f"probe_order={t.probe_order!r}, probe_steps={t.probe_steps}: {error}") from error


def generation_probe(prepared: Any, recipe: Recipe) -> Any:
    """What training looks at besides losses: held-out texts written anew, and how much of them came back.

    ``generation`` is the F1 of words against the reference for a conditional model; free samples are scored by how
    near the distribution of their words comes to the held-out texts'.
    """
    from unmask.metrics.word_distribution import word_distribution_overlap
    from unmask.metrics.word_f1 import word_f1

    t = recipe.train
    texts = prepared.validation_texts[: t.probe_texts]
    sources = prepared.validation_sources[: t.probe_texts]
    cond = prepared.model.condition(sources) if prepared.model.denoiser.conditional else None

    def probe(net: Any, step: int) -> tuple[dict[str, float], list[str]]:
        free = cond is None
        # free samples at temperature 0 are one text again and again
        found = sample(
            prepared.model,
            n=len(texts) if free else None,
            condition=cond,
            order=t.probe_order,
            steps=t.probe_steps,
            guidance=t.probe_guidance,
            temperature=1.0 if free else 0.0,
            seed=t.seed,
            share=True,
        )
        score = word_distribution_overlap(found.texts, texts) if free else float(word_f1(found.texts, texts).mean())
        lines = [f"step {step}: generation {score:.3f}"]
        for i in range(min(t.show_texts, len(found.texts))):
            if not free:
                lines.append(f"  in   {_short(sources[i])}")
            lines.append(f"  out  {_short(found.texts[i])}")
        return {"generation": score}, lines

    return probe


def tidal_probe(prepared: Any, recipe: Recipe) -> Any:
    from unmask.evaluation.tidal import exact_match_probe, text_probe
    from unmask.training.tidal import ARITHMETIC

    t = recipe.train
    examples = prepared.validation.examples[: t.probe_texts]
    if recipe.data.data == ARITHMETIC:
        return exact_match_probe(prepared.model, examples, show=t.show_texts)
    return text_probe(prepared.model, [text for _, text in examples], show=t.show_texts)


def _short(text: str, width: int = 110) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"
