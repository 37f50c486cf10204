"""Canvases as a torch data set: ids and, where there are any, vectors, read from arrays or memory maps by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from unmask.core.errors import UsageError


class CanvasDataset(Dataset[dict[str, Any]]):
    """A dataset of token ids, each row with its length and perhaps a latent; only the rows of a batch are copied.

    Args:
        ids: int [N, L], an array or memory map.
        lengths: int [N]; tokens before the padding.
        latents: [T, Z], anything an array of rows can index (an array, a memory map, cached latents); or None.
        rows: int [N]; the row of ``latents`` for each canvas; None where N = T and the order is the same.
        numbered: each item says which row it is (``row``).

    Raises:
        UsageError: the arrays do not fit together.
    """

    def __init__(
        self,
        ids: NDArray[Any],
        lengths: NDArray[Any],
        latents: Any = None,
        rows: NDArray[np.int64] | None = None,
        numbered: bool = False,
    ) -> None:
        if ids.ndim != 2 or len(lengths) != len(ids):
            raise UsageError(f"canvases need ids [N, L] and lengths [N], got {ids.shape} and {np.shape(lengths)}")
        if rows is not None and latents is None:
            raise UsageError("rows point into latents, and none were given")
        if rows is not None and (len(rows) != len(ids) or (len(rows) and int(rows.max()) >= len(latents))):
            raise UsageError(f"{len(rows)} rows into {len(latents)} latents do not fit {len(ids)} canvases")
        if rows is None and latents is not None and len(latents) != len(ids):
            raise UsageError(
                f"{len(latents)} latents do not fit {len(ids)} canvases: say which belongs to which by rows"
            )
        self.ids, self.lengths, self.latents, self.rows = ids, lengths, latents, rows
        self.numbered = numbered

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, at: int) -> dict[str, Any]:
        return self.__getitems__([at])[0]

    def __getitems__(self, at: Sequence[int]) -> list[dict[str, Any]]:
        """The rows of a batch with one read of each array; torch's loader calls this where it exists."""
        where = np.asarray(at, np.int64)
        ids = torch.from_numpy(np.asarray(self.ids[where], np.int64))
        columns: dict[str, Any] = {"input_ids": ids, "length": [int(n) for n in self.lengths[where]]}
        if self.latents is not None:
            source = where if self.rows is None else self.rows[where]
            columns["latent"] = torch.from_numpy(np.asarray(self.latents[source], np.float32))
        if self.numbered:
            columns["row"] = [int(n) for n in where]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """A batch: ``input_ids`` [B, L] int64, ``length`` [B] int64, and if any ``latent`` [B, Z], ``row`` [B]."""
    batch = {
        "input_ids": torch.stack([row["input_ids"] for row in rows]),
        "length": torch.tensor([row["length"] for row in rows], dtype=torch.int64),
    }
    if "latent" in rows[0]:
        batch["latent"] = torch.stack([row["latent"] for row in rows])
    if "row" in rows[0]:
        batch["row"] = torch.tensor([row["row"] for row in rows], dtype=torch.int64)
    return batch


def text_positions(ids_BL: Tensor, length_B: Tensor) -> Tensor:
    """True at each row's first ``length_B`` positions [B, L]."""
    return torch.arange(ids_BL.shape[1], device=ids_BL.device) < length_B[:, None]


#: widths that batches are padded to, at most
WIDTHS = 8


def padded_width(tokens: int, longest: int) -> int:
    """The width that a batch is padded to whose longest text has so many tokens: one of few, so that shapes repeat.

    A multiple of 8, at most :data:`WIDTHS` of them up to the longest text that the model knows.
    """
    step = 8 * -(-longest // (8 * WIDTHS))
    return min(-(-tokens // step) * step, longest)


@dataclass(frozen=True)
class NarrowCollate:
    """A collator that pads to the longest text of the batch (:func:`padded_width`) instead of the canvas.

    Attributes:
        longest: the longest text that the model knows.
    """

    longest: int

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        batch = collate(rows)
        batch["input_ids"] = batch["input_ids"][:, : padded_width(int(batch["length"].max()), self.longest)]
        return batch
