"""`unmask demo`."""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    @app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def demo(
        context: typer.Context,
        out: Path = typer.Option(Path("runs/demo"), help="Run folder."),
    ) -> None:
        """Train a small model on real text, write held-out verses, score them, diagnose it: about ten minutes."""
        from rich.console import Console

        from unmask.experiments import demo as experiment

        console = Console()
        experiment.demo(
            out, context.args, say=lambda line: console.print(line, markup=False, highlight=False), show=console.print
        )
