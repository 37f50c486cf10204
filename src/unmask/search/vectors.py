"""Vectors from elsewhere: read from a file, refused where they cannot be a text's, and held against training's.

Shapes: N vectors, Z width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.core.errors import UsageError

ENDINGS = (".npy", ".parquet", ".safetensors")
#: type of the numbers -> the precision that the threshold of *verified* follows
_STORED = {
    torch.float64: "fp32",
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.int8: "int8",
}
#: what is worth a warning: relative deviation of the norm, the mean's distance in standard deviations, ratio of spreads
_NORM, _MEAN, _SPREAD = 0.05, 0.5, 2.0
#: share of the mean eigenvalue that the whitening adds (:class:`unmask.models.latent.Whitening`)
_SHRINK = 0.01


def read_vectors(source: Any, column: str | None = None) -> Tensor:
    """Vectors [N, Z] as they are stored: of an array, a tensor or a file.

    Args:
        source: a NumPy array, a tensor, nested lists, or the path of a .npy, .parquet or .safetensors file.
        column: of a .parquet file, or the tensor's name in a .safetensors file; the only one there when None.

    Raises:
        UsageError: no such file, column or shape, or numbers of a type that no vector is stored in.
    """
    if isinstance(source, (str, Path)):
        found, where = _of_file(Path(source), column), f"{Path(source).name!r}"
    else:
        if column is not None:
            raise UsageError(f"column={column!r} goes with a file, and these vectors are at hand")
        where = "vectors"
        try:
            found = source.detach().cpu() if isinstance(source, Tensor) else torch.from_numpy(np.asarray(source))
        except (TypeError, ValueError) as error:
            raise UsageError(f"vectors must be numbers [N, Z]: {error}") from error
    if found.ndim != 2 or not len(found):
        raise UsageError(f"{where} holds an array of shape {list(found.shape)}: vectors are [N, Z], one a row")
    if found.dtype not in _STORED:
        known = ", ".join(sorted({str(kind).removeprefix("torch.") for kind in _STORED}))
        raise UsageError(f"{where} holds numbers of type {str(found.dtype).removeprefix('torch.')}: known: {known}")
    return found


def stored_as(vectors_NZ: Tensor) -> str:
    """The precision of vectors as they are stored, which the threshold of *verified* follows."""
    return _STORED[vectors_NZ.dtype]


def checked(vectors_NZ: Tensor, width: int, mean_Z: Tensor | None, map_ZZ: Tensor | None) -> tuple[Tensor, list[str]]:
    """The vectors in fp32, in training's norm where all of training's have one, and what is odd about them.

    Args:
        vectors_NZ: as stored.
        width: Z of the model.
        mean_Z, map_ZZ: of the model's whitening; None where it keeps none.

    Raises:
        UsageError: another width, a number that is none, a vector of zeros.
    """
    if vectors_NZ.shape[1] != width:
        raise UsageError(
            f"vectors of width {vectors_NZ.shape[1]} do not fit this model, whose encoder's have {width}: "
            "they must be of the encoder that the model was trained with"
        )
    z_NZ = vectors_NZ.float()
    bad = (~z_NZ.isfinite().all(1)).nonzero()[:, 0]
    if len(bad):
        raise UsageError(f"vector {int(bad[0])} holds NaN or an infinity ({len(bad)} of {len(z_NZ)} do): leave it out")
    zero = (z_NZ.abs().amax(1) == 0).nonzero()[:, 0]
    if len(zero):
        raise UsageError(f"vector {int(zero[0])} is all zeros ({len(zero)} of {len(z_NZ)} are): no text has such a one")
    if mean_Z is None or map_ZZ is None or bool((map_ZZ == torch.eye(width)).all()):
        return z_NZ, []
    notes = []
    spread = float(torch.linalg.inv(map_ZZ.double() @ map_ZZ.double()).trace()) / (1 + _SHRINK)
    trained = (float(mean_Z.double().square().sum()) + spread) ** 0.5
    norms = z_NZ.norm(dim=1)
    if abs(float(norms.mean()) / trained - 1) > _NORM:
        notes.append(f"their norm is {float(norms.mean()):.3g} on average, that of training's vectors {trained:.3g}")
        if abs(trained - 1) < 0.01:
            z_NZ = z_NZ / norms[:, None]
            notes[-1] += "; they are scaled to 1, which changes no cosine"
    white_NZ = (z_NZ - mean_Z) @ map_ZZ
    off = float(white_NZ.mean(0).square().mean()) - 1 / len(z_NZ)
    if off > _MEAN**2:
        notes.append(
            f"their mean lies {off**0.5:.1f} standard deviations from training's in an average direction: "
            "another encoder's, or other texts"
        )
    wide = float((white_NZ - white_NZ.mean(0)).square().mean()) * len(z_NZ) / max(len(z_NZ) - 1, 1)
    if len(z_NZ) > 1 and not 1 / _SPREAD < wide < _SPREAD:
        notes.append(f"they spread {wide:.2g} times as widely as training's (1 is alike): other texts, or few")
    return z_NZ, notes


def _of_file(path: Path, column: str | None) -> Tensor:
    if path.suffix not in ENDINGS:
        raise UsageError(f"vectors are read from {', '.join(ENDINGS)} files, not {path.name!r}")
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}")
    try:
        if path.suffix == ".npy":
            if column is not None:
                raise UsageError(f"column={column!r} has no effect on {path.name!r}, which holds one array")
            return torch.from_numpy(np.array(np.load(path, mmap_mode="r", allow_pickle=False)))
        return _of_parquet(path, column) if path.suffix == ".parquet" else _of_safetensors(path, column)
    except UsageError:
        raise
    except Exception as error:  # each library says of a damaged file what it likes
        raise UsageError(f"{path.name!r} cannot be read as vectors: {error}") from error


def _of_parquet(path: Path, column: str | None) -> Tensor:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    lists = [f.name for f in schema if pa.types.is_list(f.type) or pa.types.is_fixed_size_list(f.type)]
    name = _one_of(path, column, lists)
    cells = pq.read_table(path, columns=[name])[name].combine_chunks()
    if cells.null_count:
        raise UsageError(f"column {name!r} of {path.name!r} has {cells.null_count} empty cells: leave those rows out")
    flat = cells.flatten().to_numpy(zero_copy_only=False)
    lengths = np.unique(np.array([len(cell) for cell in cells]))
    if len(lengths) != 1:
        raise UsageError(f"column {name!r} of {path.name!r} holds vectors of {len(lengths)} widths: one is needed")
    return torch.from_numpy(np.array(flat).reshape(len(cells), int(lengths[0])))


def _of_safetensors(path: Path, column: str | None) -> Tensor:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        names = list(file.keys())
        return file.get_tensor(_one_of(path, column, names))


def _one_of(path: Path, column: str | None, names: list[str]) -> str:
    if column is not None:
        if column not in names:
            raise UsageError(f"{path.name!r} has no vectors called {column!r}: {', '.join(names) or 'it has none'}")
        return column
    if len(names) != 1:
        raise UsageError(
            f"{path.name!r} holds {len(names)} sets of vectors: say which with column= ({', '.join(names)})"
        )
    return names[0]
