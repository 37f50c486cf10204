"""Tables in Arrow's formats: Parquet and Arrow files, saved datasets and those of the hub; they stay on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unmask.core.errors import UsageError, did_you_mean
from unmask.data.columns import LOOK, USUAL, CellKinds, survey
from unmask.data.sources import Arrow, Source
from unmask.data.tables import Table, source_of, spread_rows


class ArrowTable(Table):
    """A ``datasets.Dataset``."""

    def __init__(self, dataset: Any, where: str) -> None:
        self._dataset, self.where = dataset, where

    def look(self) -> tuple[CellKinds, bool]:
        numbers = spread_rows(len(self._dataset))
        schema = self._dataset.features.arrow_schema
        light = [name for name in schema.names if not _bytes_in(schema.field(name).type)]
        found: CellKinds = {name: Counter() for name in light if not _nested(schema.field(name).type)}
        if light and numbers:
            found |= survey(_rows(self._dataset.with_format("arrow").select_columns(light)[numbers]))
        for name in schema.names:
            if name not in light:
                found[name] = Counter({"bytes": len(numbers)})
        return found, len(numbers) == len(self._dataset)

    def read(self, columns: tuple[str, ...]) -> Source:
        return Arrow(self._dataset, columns)


class ParquetTable(Table):
    """Parquet files that are one table. Only the columns that are read are copied into the datasets cache."""

    def __init__(self, files: Sequence[Path], where: str) -> None:
        from pyarrow import parquet

        self._files, self.where = files, where
        # datasets would log a damaged file before it says so
        self._schemas = [_refused(lambda f=f: parquet.read_schema(f), where) for f in files]  # type: ignore[misc]
        for file, schema in zip(files, self._schemas, strict=True):
            twice = [name for name, count in Counter(schema.names).items() if count > 1]
            if twice:
                raise UsageError(f"{file} has {twice[0]!r} twice among its columns: rename one")

    def look(self) -> tuple[CellKinds, bool]:
        first = self._schemas[0]
        light = [name for name in first.names if not _bytes_in(first.field(name).type)]
        found: CellKinds = {name: Counter() for name in light if not _nested(first.field(name).type)}
        rows, total = 0, 0
        step = max(1, len(self._files) // 8)
        for file, schema in zip(self._files[::step], self._schemas[::step], strict=True):
            theirs = [name for name in light if name in schema.names]
            looked, has = _refused(lambda f=file, c=theirs: _some(f, c), self.where)  # type: ignore[misc]
            rows, total = rows + len(looked), total + has
            for name, kinds in survey(looked).items():
                found.setdefault(name, Counter()).update(kinds)
        for name in first.names:
            if name not in light:
                found[name] = Counter({"bytes": rows})
        return found, step == 1 and rows == total

    def read(self, columns: tuple[str, ...]) -> Source:
        import datasets
        import pyarrow

        first = self._schemas[0]
        tops = sorted({c if c in first.names else c.split(".")[0] for c in columns})
        for file, schema in zip(self._files, self._schemas, strict=True):
            missing = [top for top in tops if top not in schema.names]
            if missing:
                raise UsageError(f"{file} has no column {missing[0]!r}: {did_you_mean(missing[0], schema.names)}")
        fields = []
        for top in tops:
            # a shard in which every row is null does not say of which type they are
            types = [schema.field(top).type for schema in self._schemas]
            kind = next((t for t in types if not pyarrow.types.is_null(t)), pyarrow.string())
            fields.append((top, pyarrow.string() if _string(kind) else kind))
        features = datasets.Features.from_arrow_schema(pyarrow.schema(fields))
        return Arrow(_load("parquet", self._files, self.where, columns=tops, features=features), columns)


def arrow_files(files: Sequence[Path], where: str) -> Table:
    """Arrow files that are one table.

    Raises:
        UsageError: they cannot be read.
    """
    return ArrowTable(_load("arrow", files, where), where)


def saved(path: Path, split: str) -> Table:
    """A folder that ``save_to_disk`` wrote; it stays on disk.

    Raises:
        UsageError: it is damaged, or has no such split.
    """
    import datasets
    import pyarrow

    try:
        found = datasets.load_from_disk(str(path))
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise UsageError(f"{path} cannot be read as a saved dataset: {str(error).splitlines()[0]}") from error
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise UsageError(f"{path} has no split {split!r}: {did_you_mean(split, found)}")
        found = found[split]
    return ArrowTable(found, str(path))


def read_hub(name: str, column: tuple[str, ...] | None, split: str) -> Source:
    """A dataset of the hub, ``owner/name`` or ``owner/name:configuration``.

    Raises:
        UsageError: the hub has no such dataset, or cannot be reached.
    """
    import datasets

    repo, _, configuration = name.partition(":")
    try:
        found = datasets.load_dataset(repo, configuration or None, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UsageError(
            f"{name!r} is no file, folder or corpus here, and the hub did not give it: {reason}"
        ) from error
    return source_of([ArrowTable(found, name)], column, name, USUAL)[0]


def _load(kind: str, files: Sequence[Path], where: str, **settings: Any) -> Any:
    import datasets

    names = [str(f) for f in files]
    return _refused(
        lambda: datasets.load_dataset(kind, data_files={"train": names}, split="train", **settings), where, kind
    )


def _refused(work: Any, where: str, kind: str = "parquet") -> Any:
    import datasets
    import pyarrow

    try:
        return work()
    except (OSError, ValueError, pyarrow.ArrowException, datasets.exceptions.DatasetsError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{where} cannot be read as {kind}: {' '.join(str(error).split())}") from error


def _some(file: Path, columns: list[str]) -> tuple[list[dict[str, Any]], int]:
    """Some rows of a Parquet file, from up to four of its row groups, and how many it has."""
    from pyarrow import parquet

    with parquet.ParquetFile(file) as table:
        groups = sorted({i * table.num_row_groups // 4 for i in range(4)}) if table.num_row_groups else []
        found: list[dict[str, Any]] = []
        for group in groups:
            batch = next(table.iter_batches(-(-LOOK // len(groups)), row_groups=[group], columns=columns), None)
            found += [] if batch is None else _rows(batch)
        return found, table.metadata.num_rows


def _rows(table: Any) -> list[dict[str, Any]]:
    """The rows of an Arrow table as objects; a string that is not UTF-8 is one with lone surrogates."""
    try:
        return table.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        columns = [_column(table.column(i)) for i in range(table.num_columns)]
        return [dict(zip(table.schema.names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _column(column: Any) -> list[Any]:
    import pyarrow

    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        if not _string(column.type):
            return [None] * len(column)  # within another value
        raw = column.cast(pyarrow.large_binary()).to_pylist()
        return [None if cell is None else cell.decode("utf-8", errors="surrogateescape") for cell in raw]


def _string(kind: Any) -> bool:
    import pyarrow

    types = pyarrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    view = getattr(types, "is_string_view", None)  # pyarrow 16
    return bool(types.is_string(kind) or types.is_large_string(kind) or (view is not None and view(kind)))


def _nested(kind: Any) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_struct(kind)) and kind.num_fields > 0


def _bytes_in(kind: Any) -> bool:
    """Whether bytes lie in a column (images, sound): it holds no text, and looking at it would read them."""
    import pyarrow

    types = pyarrow.types
    view = getattr(types, "is_binary_view", None)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return True
    if view is not None and view(kind):
        return True
    if types.is_struct(kind):
        return any(_bytes_in(kind.field(i).type) for i in range(kind.num_fields))
    value = getattr(kind, "value_type", None)
    return value is not None and _bytes_in(value)
