"""What training looks at besides losses: held-out texts written anew, or drafts corrected."""

from __future__ import annotations

from typing import Any

import torch

from unmask.core.condition import Condition
from unmask.core.model import SamplingRequest
from unmask.core.sampling_config import SamplingConfig
from unmask.data.text import evenly
from unmask.families.masked.model import MaskedModel


def generation_probe(model: MaskedModel, prepared: Any) -> Any:
    """What training looks at besides losses: held-out texts written anew, and how much of them came back.

    ``generation`` is the F1 of words against the reference for a conditional model; free samples are scored by how
    near the distribution of their words comes to the held-out texts'.
    """
    from unmask.metrics.word_distribution import word_distribution_overlap
    from unmask.metrics.word_f1 import word_f1

    t = prepared.recipe.train
    texts, sources = _shown(prepared)
    cond = model.condition(sources) if model.denoiser.conditional else None

    plan = SamplingConfig(
        order=t.probe_order,
        steps=t.probe_steps,
        guidance=t.probe_guidance,
        temperature=1.0 if cond is None else 0.0,
        seed=t.seed,
    )

    def probe(net: Any, step: int) -> tuple[dict[str, float], list[str]]:
        free = cond is None
        # free samples at temperature 0 are one text again and again
        found = model.sample(SamplingRequest(n=len(texts) if free else None, condition=cond, share=True), plan)
        score = word_distribution_overlap(found.texts, texts) if free else float(word_f1(found.texts, texts).mean())
        lines = [f"step {step}: generation {score:.3f}"]
        for i in range(min(t.show_texts, len(found.texts))):
            if not free:
                lines.append(f"  in   {_short(sources[i])}")
            lines.append(f"  out  {_short(found.texts[i])}")
        return {"generation": score}, lines

    return probe


def correction_probe(model: MaskedModel, prepared: Any) -> Any:
    """What training of a corrector looks at: how near held-out drafts come to their vectors by one correction.

    ``generation`` is the mean cosine of the corrected texts' vectors, ``cosine_draft`` that of the drafts'.
    """
    from unmask.decoding.corrections import corrections, sampled_drafts

    t, decoder = prepared.recipe.train, prepared.decoder
    _, sources = _shown(prepared)
    z_BZ = model.encode(sources)
    how = {"steps": t.probe_steps, "order": t.probe_order, "temperature": 0.0, "seed": t.seed}
    drafts = decoder.decode(sampled_drafts(decoder.denoiser, Condition.of(z_BZ), **how)[:, 0])
    ids_BL = model.tokenize(drafts)
    z_h_BZ = model.encode(model.decode(ids_BL))

    def probe(net: Any, step: int) -> tuple[dict[str, float], list[str]]:
        found = corrections(net, z_BZ, z_h_BZ, ids_BL, guidance=t.probe_guidance, **how)
        texts = model.decode(found[:, 0])
        before, after = (
            float(torch.cosine_similarity(z_BZ, vectors).mean()) for vectors in (z_h_BZ, model.encode(texts))
        )
        lines = [f"step {step}: cosine {before:.3f} of the drafts, {after:.3f} corrected"]
        for truth, draft, text in list(zip(sources, drafts, texts, strict=False))[: t.show_texts]:
            lines += [f"  in   {_short(truth)}", f"  was  {_short(draft)}", f"  out  {_short(text)}"]
        return {"generation": after, "cosine_draft": before, "cosine_corrected": after}, lines

    return probe


def _shown(prepared: Any) -> tuple[list[str], list[str]]:
    """Some held-out texts, and what each is written from."""
    side = prepared.held_out
    at = evenly(len(side.texts), prepared.recipe.train.probe_texts)
    return [side.texts[i] for i in at], [side.sources[i] for i in at]


def _short(text: str, width: int = 110) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"
