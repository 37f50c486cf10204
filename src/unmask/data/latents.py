"""Vectors of texts, computed once and kept on disk.

A store belongs to one encoder (its identity, its precision and the stored type) and grows by shards. A shard is a
``.npy`` of vectors, a ``.keys.npy`` with the hash of each row's text, and a ``.json`` with both files' sizes. The JSON
is written last, each file to a temporary name and then renamed: whatever moment the process dies at, a shard without
its JSON, or whose files are not as long as the JSON says, is not there. What an interrupted run leaves is harmless and
may be deleted. Two processes may fill one store; at worst both encode the same text. Those of one launch (torchrun,
accelerate) each encode their share.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unmask.core import distributed
from unmask.core.errors import UsageError
from unmask.core.files import cache_root, replacing, write_json, write_text

DTYPES = ("float32", "float16")
_KEY = np.dtype("S16")
_OPEN_SHARDS = 64


class Encoder(Protocol):
    """A sentence encoder: texts to vectors [N, width]; the cache keeps those of a ``precision`` attribute apart."""

    @property
    def width(self) -> int: ...
    @property
    def identity(self) -> str: ...
    def encode(self, texts: Sequence[str], batch_size: int = 64, progress: bool = False) -> NDArray[np.float32]: ...


class Latents:
    """[N, Z] vectors that stay on disk; index it like an array (an int, a slice, an array of rows).

    Attributes:
        shape, dtype: as of an array.
    """

    def __init__(self, store: Store, rows: NDArray[np.int64]) -> None:
        self._store, self._rows = store, rows
        self.shape, self.dtype, self.ndim = (len(rows), store.width), store.dtype, 2

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: Any) -> NDArray[Any]:
        rows = self._rows[at]
        return self._store.read(rows.reshape(1))[0] if rows.ndim == 0 else self._store.read(rows)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for start in range(0, len(self), 4096):
            yield from self[start : start + 4096]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype)


class Store:
    """The shards of one encoder.

    Args:
        folder: where they lie; made when missing.
        width: Z.
        dtype: ``float32`` or ``float16``.
    """

    def __init__(self, folder: Path, width: int, dtype: str) -> None:
        self.folder, self.width, self.dtype = folder, width, np.dtype(dtype)
        self._mapped: OrderedDict[int, NDArray[Any]] = OrderedDict()
        folder.mkdir(parents=True, exist_ok=True)
        self._shards: list[Path] = []
        starts, keys = [0], []
        for index in sorted(folder.glob("[!.]*.json")):
            found = self._keys(index)
            if found is not None:
                self._shards.append(index.with_suffix(".npy"))
                keys.append(found)
                starts.append(starts[-1] + len(found))
        self._starts = np.asarray(starts, np.int64)
        all_keys = np.concatenate(keys) if keys else np.zeros(0, _KEY)
        self._order = np.argsort(all_keys, kind="stable")
        self._sorted = all_keys[self._order]

    def _keys(self, index: Path) -> NDArray[Any] | None:
        """The keys of a whole shard, None for one that is not."""
        vectors, keys = index.with_suffix(".npy"), index.with_suffix(".keys.npy")
        try:
            sizes = json.loads(index.read_text(encoding="utf-8"))
            whole = sizes == {"vectors": vectors.stat().st_size, "keys": keys.stat().st_size}
        except (OSError, ValueError):
            return None
        return np.load(keys, allow_pickle=False) if whole else None

    def find(self, keys: NDArray[Any]) -> NDArray[np.int64]:
        """The row of each key, -1 where there is none."""
        if not len(self._sorted):
            return np.full(len(keys), -1, np.int64)
        at = np.searchsorted(self._sorted, keys).clip(max=len(self._sorted) - 1)
        return np.where(self._sorted[at] == keys, self._order[at], -1)

    def read(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The vectors of ``rows``, a copy."""
        out = np.empty((len(rows), self.width), self.dtype)
        shard = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(shard):
            mine = np.flatnonzero(shard == number)
            out[mine] = self._map(int(number))[rows[mine] - self._starts[number]]
        return out

    def _map(self, number: int) -> NDArray[Any]:
        """A shard's vectors; no more than a few dozen are held open."""
        if number in self._mapped:
            self._mapped.move_to_end(number)
        else:
            self._mapped[number] = np.load(self._shards[number], mmap_mode="r", allow_pickle=False)
            if len(self._mapped) > _OPEN_SHARDS:
                self._mapped.popitem(last=False)
        return self._mapped[number]

    def add(self, keys: NDArray[Any], vectors: NDArray[Any]) -> None:
        """Write one more shard, for whoever opens the store next; it exists once its JSON does."""
        name = uuid.uuid4().hex
        vectors_file, keys_file = self.folder / f"{name}.npy", self.folder / f"{name}.keys.npy"
        _write_array(vectors_file, vectors.astype(self.dtype))
        _write_array(keys_file, keys)
        sizes = {"vectors": vectors_file.stat().st_size, "keys": keys_file.stat().st_size}
        write_json(self.folder / f"{name}.json", sizes)


def cached_latents(
    texts: Sequence[str],
    encoder: Encoder,
    cache_dir: str | Path | None = None,
    *,
    dtype: str = "float32",
    batch_size: int = 64,
    shard_rows: int = 4096,
    progress: bool = True,
) -> Latents:
    """The vector of each text, [N, Z] in the order of ``texts``; only texts never seen before are encoded, each once.

    Args:
        texts: any sequence; read in order, once to look them up and again where vectors are missing.
        encoder: what makes the vectors.
        cache_dir: the cache's root; None takes ``$UNMASK_CACHE`` or ``~/.cache/unmask``.
        dtype: ``float32``, or ``float16`` for half the disk (about three digits).
        batch_size: of the encoder.
        shard_rows: texts between two writes, which is what an interruption can cost.
        progress: show a bar while encoding.

    Raises:
        UsageError: a setting is out of range, or the encoder's vectors are not [n, width] and finite.
    """
    if dtype not in DTYPES:
        raise UsageError(f"dtype={dtype!r} must be one of {', '.join(DTYPES)}")
    if shard_rows < 1 or batch_size < 1:
        raise UsageError(f"shard_rows={shard_rows} and batch_size={batch_size} must be at least 1")
    folder = _folder(cache_dir, encoder, dtype)
    store = Store(folder, encoder.width, dtype)
    key_N = np.fromiter((_key(text) for text in texts), _KEY, len(texts))
    missing = np.flatnonzero(store.find(key_N) < 0)
    missing = missing[np.sort(np.unique(key_N[missing], return_index=True)[1])]
    distributed.barrier()  # until everyone has seen what is missing, nobody adds to it
    if len(missing):
        part = distributed.split_between_processes(len(missing))
        mine = missing[part.start : part.stop]
        with _bar(len(mine), progress and distributed.is_main_process()) as advance:
            for start in range(0, len(mine), shard_rows):
                rows = mine[start : start + shard_rows]
                _encode_shard(store, encoder, key_N[rows], [texts[int(i)] for i in rows], batch_size, advance)
        distributed.barrier()
        store = Store(folder, encoder.width, dtype)
    found = store.find(key_N)
    if (found < 0).any():
        raise UsageError(f"{folder} lacks vectors that other processes made: the cache must be on a disk that all see")
    return Latents(store, found)


def _encode_shard(
    store: Store,
    encoder: Encoder,
    keys: NDArray[Any],
    texts: list[str],
    batch_size: int,
    advance: Callable[[int], None],
) -> None:
    """Encode in pieces of like length, short first, so that the bar moves and little padding is computed."""
    vectors = np.empty((len(texts), encoder.width), store.dtype)
    by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(texts), 8 * batch_size):
        piece = by_length[start : start + 8 * batch_size]
        found = np.asarray(encoder.encode([texts[i] for i in piece], batch_size=batch_size))
        if found.shape != (len(piece), encoder.width):
            raise UsageError(f"the encoder gave {found.shape} for {len(piece)} texts and a width of {encoder.width}")
        with np.errstate(over="ignore"):
            vectors[piece] = found
        if not np.isfinite(vectors[piece]).all():
            raise UsageError(f"the encoder {encoder.identity} gave vectors that are not finite in {store.dtype}")
        advance(len(piece))
    store.add(keys, vectors)


def _folder(cache_dir: str | Path | None, encoder: Encoder, dtype: str) -> Path:
    says = f"{encoder.identity} {getattr(encoder, 'precision', 'fp32')} {encoder.width} {dtype}"
    folder = cache_root(cache_dir) / "latents" / hashlib.sha256(says.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "README.txt").exists():  # for people who tidy their disk
        write_text(folder / "README.txt", f"vectors of: {says}\n")
    return folder


def _key(text: str) -> bytes:
    # numpy drops trailing zero bytes of a byte string, so no key may end in one
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=15).digest() + b"\x01"


def _write_array(path: Path, array: NDArray[Any]) -> None:
    with replacing(path) as partial:
        np.save(partial, array, allow_pickle=False)


@contextmanager
def _bar(total: int, show: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr; yields what to call with the number of texts done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("encoding texts"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not show) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, advance=done)
