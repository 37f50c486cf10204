from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.checks.target_alignment import EVERYTHING
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.finding import Finding
from unmask.diagnosis.subject import NotProvided


@dataclass(frozen=True)
class WeightsCheck(Check):
    """Did all weights arrive, and do they survive saving and loading?

    The load's own report of missing and unexpected names must be empty; no weight may be NaN or infinite; no matrix
    may be constant (a warning: a layer that was never loaded or never trained); the reloaded model must answer as this
    one does (what moves when the same is asked twice, times 4, and rounding; 1 % of the probability to fail).
    """

    title = "Are all weights there after loading?"
    fault = "Weights are missing, damaged, or change on the way to disk and back."
    repair = "weights.loaded"
    leads_to = ("train_inference", "loss_by_ratio", "target_alignment", "bound_calibration", *EVERYTHING)

    def run(self, context: CheckContext) -> Finding:
        s, said, faults, warnings = context.subject, [], [], []
        numbers: dict[str, Any] = {}
        asked = 0
        try:
            report = s.loading_report()
            asked += 1
            for kind, names in report.items():
                numbers[kind] = list(names)
                if names:
                    faults.append(f"{len(names)} {kind} ({', '.join(list(names)[:3])})")
        except NotProvided:
            pass
        try:
            named = s.weights()
            asked += 1
            bad = [n for n, w in named.items() if not bool(torch.isfinite(w).all())]
            flat = [n for n, w in named.items() if w.ndim >= 2 and w.numel() > 1 and bool((w == w.flatten()[0]).all())]
            numbers |= {"tensors": len(named), "not_finite": bad, "constant": flat}
            if bad:
                faults.append(f"{len(bad)} hold NaN or infinities ({', '.join(bad[:3])})")
            if flat:
                warnings.append(f"{len(flat)} matrices are constant ({', '.join(flat[:3])})")
            said.append(f"{len(named)} tensors looked at")
        except NotProvided:
            pass
        try:
            named, again = s.weights(), s.reloaded()
            lost = sorted(set(named) ^ set(again))
            changed = [n for n in named if n in again and not _same(named[n], again[n])]
            numbers |= {"lost_by_saving": lost, "changed_by_saving": changed}
            if lost:
                faults.append(f"{len(lost)} are lost or appear on the way to disk and back ({', '.join(lost[:3])})")
            if changed:
                faults.append(f"{len(changed)} change on the way to disk and back ({', '.join(changed[:3])})")
            said.append("saved and loaded again")
        except NotProvided:
            pass
        if not asked:
            raise NotProvided("weights(), reloaded() or loading_report()")
        status = "fail" if faults else "warn" if warnings else "pass"
        return Finding(
            status,  # type: ignore[arg-type]
            measured="; ".join(faults + warnings + said),
            threshold="nothing missing, all finite, and equal after saving and loading",
            why="A layer that was not loaded is a random layer: everything after it is noise that may still look "
            "trained."
            if status != "pass"
            else "The weights are all there and survive a round trip.",
            next_step="Load strictly (refuse missing and unexpected names), and compare logits before and after."
            if status != "pass"
            else "",
            numbers=numbers,
            share=1.0 if faults else 0.0,
        )


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool(torch.equal(one.cpu(), other.to(one.dtype).cpu()))
