"""`unmask invert`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from unmask.cli._settings import sampling_flags

_SETTINGS = ("verify", "calls", "forwards", "seconds", "seed", "precision", "batch_size")


def register(app: typer.Typer) -> None:
    def invert(
        settings: dict[str, Any],
        model: str = typer.Argument(..., help="Run folder of a model that writes from vectors."),
        vectors: Path = typer.Argument(..., help="Vectors [N, Z]: .npy, .parquet or .safetensors."),
        column: str | None = typer.Option(None, help="Column of a .parquet file, or name in a .safetensors file."),
        out: Path | None = typer.Option(None, help="Write a .csv or .jsonl file; one that was stopped goes on."),
        live: bool = typer.Option(False, help="Show the best hypotheses rising."),
    ) -> None:
        """Write the texts of vectors from elsewhere, each verified by encoding it."""
        import warnings

        from rich.console import Console

        from unmask import api
        from unmask.core import distributed
        from unmask.core.errors import UsageError
        from unmask.reporting.search_live import SearchView
        from unmask.search.vectors import read_vectors

        if out is not None and out.suffix not in (".csv", ".jsonl"):
            raise UsageError(f"--out {out} must end in .csv or .jsonl")
        found = read_vectors(vectors, column)
        loaded = api.load(model)
        console = Console()
        with warnings.catch_warnings(record=True) as said, SearchView(len(found), live) as view:
            warnings.simplefilter("always")
            rows: Any = api.invert(loaded, found, out=out, callback=view, **settings)
        if not distributed.is_main_process():
            return
        for warning in said:
            if issubclass(warning.category, UserWarning):
                Console(stderr=True).print(f"{warning.message}", style="yellow", highlight=False, soft_wrap=True)
        if isinstance(rows, list):  # those of the file
            verified, count, calls = sum(row["verified"] for row in rows), len(rows), sum(row["calls"] for row in rows)
        else:
            for text in rows.texts:
                console.print(text, markup=False, highlight=False, soft_wrap=True)
            verified, count, calls = sum(rows.verified or []), len(rows.texts), rows.calls
        line = f"{verified} of {count} verified, {calls} encoder calls"
        Console(stderr=True).print(line, style="dim", highlight=False)

    app.command()(sampling_flags(invert, only=_SETTINGS))
