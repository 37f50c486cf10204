from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from unmask.diagnosis.check import Check
from unmask.diagnosis.checks.target_alignment import EVERYTHING
from unmask.diagnosis.context import CheckContext
from unmask.diagnosis.damage import kind_of
from unmask.diagnosis.finding import Finding, Plot
from unmask.diagnosis.given_vectors import other_vectors
from unmask.diagnosis.record import Record, RecordedSplit, scores
from unmask.diagnosis.subject import NotProvided

#: what loading may move at most without being called damage: a hundredth of the loss, or a hundredth of a nat
ROOM = 0.01


@dataclass(frozen=True)
class AsRecorded(Check):
    """Does the loaded model score what it scored when it was trained?

    Fixed masked states of fixed rows were scored when the weights were saved (:mod:`unmask.diagnosis.record`). The same
    states, with the recorded ids and vectors, are put to ``predict`` now: rounding moves this by some 1e-6 nats, what
    the same question asked twice moves is added (times 4), and beyond 1 % of the loss it fails. Then the recorded texts
    are laid out and encoded again: other ids are another tokenizer, other vectors another encoder; rows that the data
    holds today must come with their recorded vectors. Where the rows score as recorded once they are moved a place or
    two on their canvas, positions reach the network wrongly; where they do so with everything masked, ids are read
    wrongly; where far ids change no answer at all, attention is cut short. A record that was made later knows nothing
    of training, so that it can fail, but not pass.
    """

    title = "Does the loaded model score what it scored in training?"
    fault = "What was loaded is not what was trained."
    needs = ("record", "predict")
    repair = "weights.loaded"
    leads_to = EVERYTHING

    def run(self, context: CheckContext) -> Finding:
        s = context.subject
        record = s.record()
        numbers: dict[str, Any] = {"recorded": record.when, "made": record.made}
        moved, floor, plot = self._moved(context, record, numbers)
        said = [f"fixed rows score {moved:+.4f} nats a token beside their record"]
        faults: list[tuple[str, str, float]] = []
        if abs(moved) > floor or numbers["apart_nats"] > floor:
            words = f"The loaded model scores {moved:+.3f} nats a token beside what it scored when it was trained."
            rows = record.splits["held_out"]
            repair, kind, numbers["places_off"] = kind_of(s, rows, scores(s, rows), context.rounding())
            if kind:
                said.append(kind.rstrip("."))
            faults.append((repair, kind or words, min(1.0, numbers["apart_nats"])))
        for split, rows in record.splits.items():
            for fault in (other_vectors(s, split, rows), self._laid_out(context, split, rows, numbers)):
                if fault is not None:
                    faults.append(fault)
                    said.append(fault[1].rstrip("."))
        if not faults and record.when == "later":
            raise NotProvided(
                f"a record of its training: its own was recorded later ({record.made}), and fixed rows score the same"
            )
        repair, fault_words, share = max(faults, key=lambda f: f[2], default=("", "", 0.0))
        return Finding(
            "fail" if faults else "pass",
            fault=fault_words,
            measured="; ".join(said),
            threshold=f"{floor:.2g} nats (1 % of the loss, asking twice, rounding); the same ids and vectors",
            why="Weights, positions, whitening or the tokenizer changed between the end of training and now, so every "
            "path is wrong alike and no comparison of the model with itself can see it."
            if faults
            else "The loaded model is the one that was trained, and reads texts as it did.",
            next_step="Load the folder that training wrote with the versions it names, and compare configuration, "
            "tokenizer and encoder with the record's."
            if faults
            else "",
            numbers=numbers,
            plot=plot,
            share=share,
            own=bool(faults),
            repair=repair,
        )

    def _moved(self, context: CheckContext, record: Record, numbers: dict[str, Any]) -> tuple[float, float, Plot]:
        gaps, levels = [], []
        series: dict[str, list[float | None]] = {}
        twice = 0.0
        for split, rows in record.splits.items():
            now_SB = scores(context.subject, rows)
            if split == "held_out":
                twice = float((scores(context.subject, rows) - now_SB).nan_to_num().abs().mean())
            known_SB = torch.isfinite(rows.ce_SB)
            gap_SB = (now_SB - rows.ce_SB).where(known_SB, torch.zeros(()).double())
            gaps.append(gap_SB[known_SB])
            levels.append(rows.ce_SB[known_SB])
            words = split.replace("_", " ")
            for name, ce_SB in ((f"{words}, recorded", rows.ce_SB), (f"{words}, now", now_SB)):
                series[name] = [float(v) for v in ce_SB.nanmean(1)]
        gap, level = torch.cat(gaps), float(torch.cat(levels).mean())
        apart = float(gap.abs().mean())
        floor = max(ROOM * min(level, 1.0), 4 * twice + context.rounding() * max(level, 1.0))
        numbers |= {"apart_nats": apart, "moved_nats": float(gap.mean()), "recorded_nats": level, "twice_nats": twice}
        dashed = tuple(name for name in series if name.endswith("recorded"))
        plot = Plot("lines", list(record.ratios), series, "masked fraction", "nats a token", dashed)
        return float(gap.mean()), floor, plot

    def _laid_out(
        self, context: CheckContext, split: str, rows: RecordedSplit, numbers: dict[str, Any]
    ) -> tuple[str, str, float] | None:
        """What is wrong with the recorded texts' ids or vectors today: repair, words, share."""
        if rows.batch.texts is None:
            return None
        try:
            ids_BL, latent_BZ = context.subject.encode(rows.batch.texts)
        except NotProvided:
            return None
        was_BL = rows.batch.ids_BL
        width = max(was_BL.shape[1], ids_BL.shape[1])
        pad = context.subject.pad_id if context.subject.pad_id is not None else -1
        one, other = (torch.nn.functional.pad(x.cpu(), (0, width - x.shape[1]), value=pad) for x in (was_BL, ids_BL))
        changed = float((one != other).any(1).double().mean())
        numbers[f"{split}_other_ids"] = changed
        if changed:
            words = f"{changed:.0%} of the recorded texts become other ids than when the model was trained."
            return "tokenizer", words, changed
        if latent_BZ is not None and rows.batch.cond is not None:
            was_BZ = rows.batch.cond.latent_BZ.cpu()
            cosine = torch.nn.functional.cosine_similarity(was_BZ, latent_BZ.float().cpu()).mean()
            longer = float((latent_BZ.float().cpu().norm(dim=1) / was_BZ.norm(dim=1).clamp(min=1e-9)).mean())
            numbers |= {f"{split}_cosine": float(cosine), f"{split}_norm_ratio": longer}
            if cosine < 1 - ROOM or abs(longer - 1) > 0.05:
                words = f"The recorded texts get other vectors now (cosine {cosine:.3f}, norm x {longer:.2f})."
                return "condition.scale", words, min(1.0, float(1 - cosine) + abs(longer - 1))
        return None
