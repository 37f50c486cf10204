from __future__ import annotations

from dataclasses import dataclass

import torch

from unmask.auditing.check import TEXTS, AuditCheck, Bench
from unmask.auditing.checks.one_at_a_time import SURE
from unmask.diagnosis.finding import Finding

#: nats a token: a rest that fits another text is unlikelier than this; fewer may be the draw's or the budget's doing
DEAF = 0.5


@dataclass(frozen=True)
class Prompts(AuditCheck):
    """Do given tokens stay, and is the rest written given them?

    A third of each text of the law is given, in front and scattered. Every given token must be there at the end (closed
    form). A text that follows the law, of which a part is kept and the rest written anew from the exact conditionals,
    follows the law still: where the finished texts are surely less likely than the texts were, by half a nat a token,
    the given part was not heeded. Texts that are too likely are another question's (``one_at_a_time``).
    """

    title = "Do given tokens stay, and is the rest written given them?"
    fault = "Given tokens are changed."
    repair = "sampler.places"

    def run(self, context: Bench) -> Finding:  # type: ignore[override]
        if not context.sampled.fills:
            return Finding("not_run", why="the sampler takes no canvas that holds tokens already")
        law = context.law
        texts_BL = context.subject.data(TEXTS).ids_BL
        draw = torch.Generator().manual_seed(context.seed)
        given_BL = torch.rand(texts_BL.shape, generator=draw) < 0.25
        front = TEXTS if context.sampled.prefix_only else TEXTS // 2
        given_BL[:front] = torch.arange(law.length) < law.length // 3
        x_BL = torch.where(given_BL, texts_BL, law.mask_id)
        out_BL = context.sampled.fill(x_BL, context.seed)
        changed = int((given_BL & (out_BL != texts_BL)).sum())
        left = int((out_BL == law.mask_id).sum())
        whole_BL = torch.where(given_BL, texts_BL, out_BL).clamp(max=law.mask_id - 1)
        apart = (law.log_prob(whole_BL) - law.log_prob(texts_BL)) / law.length
        sigmas = float(apart.mean() / (apart.std() / TEXTS**0.5 + 1e-12))
        deaf = sigmas < -SURE and float(apart.mean()) < -DEAF
        wrong = bool(changed or left)
        return Finding(
            "fail" if wrong or deaf else "pass",
            fault=f"{changed} given tokens are changed." if changed else f"{left} places are left masked." if left
            else "What is given is not heeded." if deaf else "",
            measured=f"{changed} of {int(given_BL.sum())} given tokens changed, {left} places left masked; the rest is "
            f"{float(apart.mean()):+.3f} nats a token from the law's own ({sigmas:+.1f} standard errors)",
            threshold="none changed, none left",
            why="A prompt that is written over, or not heeded, is not answered." if wrong or deaf
            else "Given tokens stand, and what is written fits them.",
            next_step="Write only where the canvas holds the mask id." if wrong else "",
            numbers={"changed": changed, "left": left, "nats_a_token": float(apart.mean()), "sigmas": sigmas},
            share=0.6 if wrong or deaf else 0.0,
            own=bool(changed),
        )  # fmt: skip
