from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unmask.diagnosis.check import Check
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.replay import FITS, SURE_NATS, UNSTEADY, Replay, replayed
from unmask.diagnosis.subject import Generated


@dataclass(frozen=True)
class Replayed(Check):
    """Are values drawn from the law that is told, and if not, from which?

    Every state in which a value was drawn is put to ``predict`` again, and the likelihood of the value is taken under
    the law that the sampler tells (guidance, temperature, top-k, top-p) and under each law of ``unmask list laws``: the
    canvas one step before, guidance with swapped branches or on probabilities, another row's vector or none, another
    temperature, top-k unsaid ... Also of the few texts that are written under a temperature of 0.5 and under guidance,
    where the sampler takes these. A law without free parameters is likelier than the true one by c nats with a chance
    of at most exp(-c) (Markov); it counts from 9.7 nats plus the logarithm of the number of laws on: 6e-5 for all of
    them together. It is *named* only if what was drawn fits it: within 4.5 standard deviations of the likelihood's
    expectation. Where no law is named, what is told fails beyond 4.5 (7e-6, normal approximation). What was drawn is
    measured against ``predict``, so it is no consequence of what else is wrong.
    """

    title = "Are values drawn from the law that is told?"
    fault = "Values are drawn from another law than is told."
    reference = "Wald 1945, doi:10.1214/aoms/1177731118"
    needs = ("data", "predict", "generate")
    repair = "sampler.law"
    leads_to = ("safe_words", "length", "frontier", "memorisation")

    def run(self, context: CheckContext) -> Finding:
        runs: dict[str, Generated] = {"as it is used": context.samples()}
        settings = context.subject.settings
        for name, value in (("temperature", 0.5), ("guidance", 3.0)):
            if value in settings.get(name, ()):
                runs[f"{name}={value:g}"] = context.tried(name, value)
        found: dict[str, Replay] = {}
        said, aside = [], ""
        for words, out in runs.items():
            if out.altered:
                aside = out.altered
            elif out.steps:
                found[words] = replayed(context, out)
        found = {words: one for words, one in found.items() if one.values}
        if not found:
            return Finding(
                "not_run",
                why=aside or "generate does not tell its steps",
                next_step="" if aside else "Return steps from generate.",
            )
        numbers: dict[str, Any] = {}
        for words, one in found.items():
            named = "" if one.law is None else f", {one.gain:.0f} nats likelier under {one.law.said}"
            said.append(f"{words}: {one.values} values, {one.sigmas:+.1f} standard deviations off{named}")
            numbers[words] = {
                "values": one.values,
                "sigmas": one.sigmas,
                "nats_a_value": one.nats,
                "law": None if one.law is None else one.law.said,
                "gains_nats": dict(one.gains),
            }
        strange = {words: one for words, one in found.items() if one.strange}
        # a law that is named says more than a distance; of several the surest
        where = max(strange, key=lambda w: (strange[w].law is not None, strange[w].gain), default=None)
        worst = None if where is None else strange[where]
        fault, repair = "", ""
        if worst is not None:
            fault = "Values are drawn from another law than is told."
            if worst.law is not None:
                fault, repair = f"Values are drawn from {worst.law.said}, which is not told.", worst.law.repair
        return Finding(
            "fail" if worst else "pass",
            fault=fault,
            measured="; ".join(said),
            threshold=f"{FITS:g} standard deviations; no other law likelier by {SURE_NATS:g} nats and the logarithm of "
            "their number",
            why="The texts come from another distribution than the model's, whatever the model has learned."
            if worst
            else "What was drawn is as likely as draws from the law that is told are.",
            next_step="Follow one value from the logits to the canvas: which state, which vector, which guidance, "
            "which temperature, what was cut off."
            if worst
            else "",
            numbers=numbers,
            share=0.0 if worst is None else worst.share,
            # what answers otherwise each time that it is asked has no law to compare with
            own=_own(worst) and context.noise_floor() <= UNSTEADY,
            explains=("draw_calibration",) if worst is not None else (),
            repair=repair,
        )


def _own(found: Replay | None) -> bool:
    """Whether the evidence is the sampler's own.

    A law that is not known may be that of a network which is asked otherwise. So may a higher temperature: values drawn
    from any other answers than these look less likely than they should, never more.
    """
    if found is None or found.law is None:
        return False
    return found.law.repair != "sampler.temperature" or found.sigmas > 0
