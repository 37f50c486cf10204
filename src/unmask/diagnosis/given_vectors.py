"""Whether rows come with the vectors today that they came with when the model was trained."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from unmask.diagnosis.record import RecordedSplit
from unmask.diagnosis.subject import Split, Subject

#: cosine, and norm, by which a vector may differ and be called the same
COSINE, NORM = 0.01, 0.05
#: rows of the record that must be met again
FEWEST = 8


def other_vectors(subject: Subject, split: Split, rows: RecordedSplit) -> tuple[str, str, float] | None:
    """What is wrong with the vectors that rows are given today: repair, words and the share of rows; None if nothing.

    Rows of the record are found again by their ids. Vectors that are another recorded row's belong to other texts;
    any others are scaled, shifted or whitened otherwise.
    """
    was = rows.batch
    now = subject.data(len(was), split)
    if was.cond is None or now.cond is None or now.cond.latent_BZ.shape[1:] != was.cond.latent_BZ.shape[1:]:
        return None
    keys = [tuple(row) for row in was.ids_BL.tolist()]
    often = Counter(keys)
    place = {key: i for i, key in enumerate(keys) if often[key] == 1}
    met = [(i, place[key]) for i, row in enumerate(now.ids_BL.tolist()) if (key := tuple(row)) in place]
    if len(met) < FEWEST:
        return None
    here_M, there_M = (torch.tensor(side) for side in zip(*met, strict=True))
    now_MZ, every_BZ = now.cond.latent_BZ.float().cpu()[here_M], was.cond.latent_BZ.float().cpu()
    was_MZ = every_BZ[there_M]
    cosine_M = _cosine(now_MZ, was_MZ)
    longer_M = now_MZ.norm(dim=1) / was_MZ.norm(dim=1).clamp(min=1e-9)
    off_M = (cosine_M < 1 - COSINE) | ((longer_M - 1).abs() > NORM)
    share = float(off_M.double().mean())
    if share <= 0.05:
        return None
    best_M, whose_M = _cosine(now_MZ[off_M][:, None], every_BZ[None]).max(1)
    strangers = (best_M > 1 - 1e-3) & (whose_M != there_M[off_M])
    if float(strangers.double().mean()) > 0.5:
        return "condition.rows", f"{share:.0%} of the recorded rows come with the vector of another row now.", share
    words = f"{share:.0%} of the recorded rows come with other vectors now (cosine {float(cosine_M.mean()):.3f}, "
    return "condition.scale", words + f"norm x {float(longer_M.mean()):.2f}).", share


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(one.double(), other.double(), dim=-1)
