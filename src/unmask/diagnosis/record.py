"""What training scored, kept beside the weights, so that a diagnosis can ask whether the loaded model still does.

A comparison of a loaded model with itself sees nothing that happened to it on the way: whitening that was lost, another
rotary base, weights of another moment, another tokenizer. A record holds fixed rows of held-out and training data
(texts, ids, semantic vectors), fixed masked states of them, and the cross-entropy of each row in each state as the
saved model, loaded again, gave it in fp32 on the day it was trained.

Shapes: B rows, L length, S states, Z latent (docs/notation.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from unmask.core.condition import Condition
from unmask.core.errors import CheckpointError
from unmask.core.files import replacing
from unmask.core.random import Stream, uniform
from unmask.core.versions import versions
from unmask.diagnosis.baselines import in_text
from unmask.diagnosis.rows import Batch, Kind, NotProvided, Split, State

FILE = "record.safetensors"
FORMAT = "unmask-record-1"
#: masked fractions that are recorded; of a causal model every token after the first, in one state
RATIOS = (0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
ROWS = 48

RecordTime = Literal["training", "later"]


class RecordSubject(Protocol):
    """What is asked of a subject for its record."""

    mask_id: int | None
    pad_id: int | None
    eos_id: int | None

    @property
    def kind(self) -> Kind: ...
    def data(self, n: int, split: Split = "held_out") -> Batch: ...
    def predict(self, state: State) -> Tensor: ...


@dataclass(frozen=True)
class RecordedSplit:
    """The rows of one split and what they scored.

    Attributes:
        batch: ids [B, L], their vectors and their texts, as they were on the day.
        hidden_SBL: what was masked in each state; of a causal model nothing.
        asked_SBL: which positions were scored.
        ce_SB: the mean cross-entropy of a row's scored tokens, nats a token; NaN for a row without any.
    """

    batch: Batch
    hidden_SBL: Tensor
    asked_SBL: Tensor
    ce_SB: Tensor

    def states(self, mask_id: int | None) -> list[State]:
        """The recorded states, to be asked about again."""
        found = []
        for hidden_BL, asked_BL in zip(self.hidden_SBL, self.asked_SBL, strict=True):
            x_BL = self.batch.ids_BL
            if mask_id is not None:
                x_BL = x_BL.masked_fill(hidden_BL, mask_id)
            found.append(State(x_BL, asked_BL, self.batch.cond, valid_BL=self.batch.valid_BL))
        return found


@dataclass(frozen=True)
class Record:
    """What a model scored when it was trained.

    Attributes:
        when: ``training``, or ``later`` for a model that came without one.
        made: the date and time, UTC.
        ratios: masked fraction of each state; 0 for a causal model's.
        splits: held-out rows, and training rows where there were any.
        about: what training says of itself: the data's fingerprint and size, its steps, precision, seed ...
        curve: figures of the held-out loss by step, as training logged them.
        versions: of what it was computed with.
    """

    when: RecordTime
    made: str
    ratios: tuple[float, ...]
    splits: Mapping[Split, RecordedSplit]
    about: Mapping[str, Any]
    curve: Sequence[Mapping[str, float]]
    versions: Mapping[str, str]

    def save(self, folder: str | Path) -> Path:
        """Write ``record.safetensors`` into a model folder, whole or not at all."""
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {}
        texts: dict[str, list[str] | None] = {}
        for name, rows in self.splits.items():
            batch = rows.batch
            texts[name] = None if batch.texts is None else list(batch.texts)
            tensors |= {f"{name}.ids": batch.ids_BL.int(), f"{name}.ce": rows.ce_SB.double()}
            tensors |= {f"{name}.hidden": rows.hidden_SBL.byte(), f"{name}.asked": rows.asked_SBL.byte()}
            if batch.cond is not None:
                tensors[f"{name}.latent"] = batch.cond.latent_BZ.float()
            if batch.valid_BL is not None:
                tensors[f"{name}.valid"] = batch.valid_BL.byte()
        tensors = {name: value.cpu().contiguous() for name, value in tensors.items()}
        told = {
            "format": FORMAT,
            "when": self.when,
            "made": self.made,
            "ratios": list(self.ratios),
            "texts": texts,
            "about": dict(self.about),
            "curve": [dict(point) for point in self.curve],
            "versions": dict(self.versions),
        }
        words = json.dumps(told, ensure_ascii=False, sort_keys=True)
        path = Path(folder) / FILE
        with replacing(path) as temporary:
            save_file(tensors, str(temporary), metadata={"record": words, "sha256": _seal(words, tensors)})
        return path


def read(folder: str | Path) -> Record | None:
    """The record in a model folder; None where there is none.

    Raises:
        CheckpointError: it is damaged, was changed after it was made, or is of a later format.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), "pt") as file:
            said = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        told = json.loads(said["record"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is no record that can be read ({error})") from error
    if told.get("format") != FORMAT:
        raise CheckpointError(f"{path} has the format {told.get('format')!r}, and this version reads {FORMAT!r}")
    if said.get("sha256") != _seal(said["record"], tensors):
        raise CheckpointError(f"{path} was changed after it was made: its seal does not fit; delete it or record again")
    splits: dict[Split, RecordedSplit] = {}
    for name, texts in told["texts"].items():
        latent, valid = tensors.get(f"{name}.latent"), tensors.get(f"{name}.valid")
        batch = Batch(
            tensors[f"{name}.ids"].long(),
            None if latent is None else Condition.of(latent),
            texts=None if texts is None else tuple(texts),
            valid_BL=None if valid is None else valid.bool(),
        )
        hidden, asked = tensors[f"{name}.hidden"].bool(), tensors[f"{name}.asked"].bool()
        splits[name] = RecordedSplit(batch, hidden, asked, tensors[f"{name}.ce"])
    return Record(
        told["when"],
        told["made"],
        tuple(told["ratios"]),
        splits,
        told["about"],
        told["curve"],
        told["versions"],
    )


def kept_at(folder: str | Path | None) -> Record:
    """The record in a model folder.

    Raises:
        NotProvided: there is none.
        CheckpointError: see :func:`read`.
    """
    found = None if folder is None else read(folder)
    if found is None:
        raise NotProvided("a record: what this model scored in training was not recorded")
    return found


def curve_of(run: str | Path) -> list[dict[str, float]]:
    """The held-out figures that a run logged, by step, from its last checkpoint; none where no checkpoint is left."""
    found: list[dict[str, float]] = []
    states = sorted(Path(run).glob("checkpoint-*/trainer_state.json"), key=lambda p: int(p.parent.name.split("-")[-1]))
    if not states:
        return found
    for entry in json.loads(states[-1].read_text(encoding="utf-8")).get("log_history", []):
        figures = {k.removeprefix("eval_"): float(v) for k, v in entry.items() if _figure(k, v)}
        if figures:
            found.append({"step": float(entry["step"]), **figures})
    return found


def _figure(name: str, value: Any) -> bool:
    return name.startswith(("eval_loss", "eval_nelbo", "eval_generation")) and isinstance(value, (int, float))


def _seal(words: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over everything that a record says; it finds damage and hasty edits, it is no signature."""
    mark = hashlib.sha256(words.encode("utf-8"))
    for name in sorted(tensors):
        mark.update(name.encode("utf-8"))
        mark.update(tensors[name].contiguous().numpy().tobytes())
    return mark.hexdigest()


def record_of(
    subject: RecordSubject,
    when: RecordTime,
    *,
    about: Mapping[str, Any] | None = None,
    curve: Sequence[Mapping[str, float]] = (),
    rows: int = ROWS,
) -> Record:
    """What a subject scores now, in fixed states of its held-out and training rows.

    Args:
        subject: the model as it was saved and loaded again, in fp32.
        when: ``training`` only where this is the end of the training itself.
        about, curve: see :class:`Record`.
        rows: of each split.

    Raises:
        NotProvided: the subject has no held-out data, or no ``predict``.
    """
    ratios = RATIOS if subject.mask_id is not None and subject.kind == "masked" else (0.0,)
    splits: dict[Split, RecordedSplit] = {"held_out": _recorded(subject, subject.data(rows, "held_out"), ratios)}
    try:
        train = subject.data(rows, "train")
        # rows that came without the vectors that the model needs say nothing of it
        if len(train) >= 2 and (train.cond is not None or splits["held_out"].batch.cond is None):
            splits["train"] = _recorded(subject, train, ratios)
    except NotProvided:
        pass
    made = datetime.now(UTC).replace(microsecond=0).isoformat()
    return Record(when, made, ratios, splits, dict(about or {}), list(curve), versions())


def _recorded(subject: RecordSubject, batch: Batch, ratios: Sequence[float]) -> RecordedSplit:
    inside_BL = in_text(batch.ids_BL, subject.eos_id, subject.pad_id)
    if batch.valid_BL is not None:
        inside_BL = inside_BL & batch.valid_BL
    hidden, asked = [], []
    for ratio in ratios:
        if ratio == 0.0:
            at_BL = inside_BL.clone()
            at_BL[:, 0] = False
            hidden.append(torch.zeros_like(at_BL))
        else:
            masked_BL = _masked(batch.ids_BL, batch.valid_BL, inside_BL, ratio)
            at_BL = masked_BL & inside_BL
            hidden.append(masked_BL)
        asked.append(at_BL)
    rows = RecordedSplit(batch, torch.stack(hidden), torch.stack(asked), torch.zeros(len(ratios), len(batch)))
    return replace(rows, ce_SB=scores(subject, rows))


def _masked(ids_BL: Tensor, valid_BL: Tensor | None, inside_BL: Tensor, ratio: float) -> Tensor:
    """The same share of the positions of each row, one of the text at least; a function of row, column and ratio."""
    B, L = ids_BL.shape
    noise_BL = uniform(0, torch.arange(B)[:, None], torch.arange(L), Stream.CORRUPT, round(ratio * 1000))
    noise_BL = noise_BL.to(ids_BL.device)
    if valid_BL is not None:
        noise_BL = torch.where(valid_BL, noise_BL, 2.0)
    first_B = torch.where(inside_BL, noise_BL, 2.0).argmin(1)
    noise_BL[torch.arange(B, device=ids_BL.device), first_B] = -1.0
    size_B = torch.full((B,), L, device=ids_BL.device) if valid_BL is None else valid_BL.sum(1)
    count_B = (ratio * size_B).round().clamp(min=1)
    return noise_BL.argsort(1).argsort(1) < count_B[:, None]


@torch.no_grad()
def scores(subject: RecordSubject, rows: RecordedSplit, at_once: int = 16) -> Tensor:
    """Mean cross-entropy [S, B] of the recorded states under the subject as it is now, nats a token."""
    device = subject.data(1).ids_BL.device
    found = []
    for state in rows.states(subject.mask_id):
        sum_B = torch.zeros(len(state.x_BL), dtype=torch.float64)
        for first in range(0, len(state.x_BL), at_once):
            part = state.rows(first, first + at_once).to(device)
            if not bool(part.at_BL.any()):
                continue
            logp_NV = subject.predict(part).float().log_softmax(-1)
            target_N = rows.batch.ids_BL[first : first + at_once].to(device)[part.at_BL]
            ce_N = -logp_NV.gather(-1, target_N[:, None])[:, 0].double().cpu()
            row_N = part.at_BL.nonzero()[:, 0].cpu() + first
            sum_B.index_add_(0, row_N, ce_N)
        found.append(sum_B / state.at_BL.sum(1).cpu().double())
    return torch.stack(found)
