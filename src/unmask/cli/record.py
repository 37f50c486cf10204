"""`unmask record`."""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def record(
        model: Path = typer.Argument(..., help="A model folder that can be written."),
        data: str | None = typer.Option(None, help="Corpus, file, folder or hub id; the model's own held-out texts."),
        column: str | None = typer.Option(
            None, help="Column of --data that holds the text; two, comma between: pairs."
        ),
    ) -> None:
        """Keep what a model scores today beside its weights; `unmask diagnose` asks later whether it still does.

        `unmask train` does this by itself. What is recorded later says nothing of the training.
        """
        from rich.console import Console

        from unmask import api

        written = api.record(model, data, column=column)
        Console().print(f"recorded: {written}", markup=False, highlight=False)
