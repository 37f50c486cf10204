"""`unmask experiment`."""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def experiment(
        name: str = typer.Argument(..., help="sudoku, zebra, nae_sat, order_learners, frontier or beyond."),
        minutes: float | None = typer.Option(None, help="Train each arm this long, later go on; 0 measures."),
        steps: int | None = typer.Option(None, help="Optimiser steps of each arm's whole run."),
        batch: int | None = typer.Option(None, help="Rows a step."),
        boards: int = typer.Option(500, help="Boards or texts that are measured."),
        arm: list[str] = typer.Option([], help="Only this arm; repeatable."),
        test: list[str] = typer.Option([], help="Only this test set (nae_sat: N,P); repeatable."),
        scale: str = typer.Option("cpu", help="cpu, or paper (the paper's sizes: a GPU)."),
        device: str | None = typer.Option(None, help="cpu, cuda, ...; CUDA where there is one when missing."),
        runs: Path = typer.Option(Path("runs/experiments"), help="Folder of the checkpoints."),
        out: Path = typer.Option(Path("docs/benchmarks"), help="Folder of the numbers (JSON)."),
        pages: Path = typer.Option(Path("docs/experiments"), help="Folder of the page and its drawings."),
        page_only: bool = typer.Option(False, "--page", help="Rewrite the page from the numbers; train nothing."),
    ) -> None:
        """Run one of the papers' experiments: train, measure, write the numbers, rewrite the page from them."""
        from rich.console import Console

        from unmask.core.device import device_of
        from unmask.core.errors import WrongUse
        from unmask.experiments.study import Effort, rewrite, run, study

        console = Console()

        def say(line: str) -> None:
            console.print(line, markup=False, highlight=False)

        study(name)  # a wrong name shows before anything is built
        if page_only:
            given = [
                name for name, value in (("minutes", minutes), ("steps", steps), ("batch", batch)) if value is not None
            ]
            given += [name for name, value in (("arm", arm), ("test", test), ("device", device)) if value]
            if given:
                raise WrongUse(f"--{given[0]} has no effect with --page, which only rewrites the page")
            say(str(rewrite(name, out=out, pages=pages)))
            return
        effort = Effort(
            scale=scale,
            minutes=minutes,
            steps=steps,
            batch=batch,
            boards=boards,
            arms=tuple(arm),
            tests=tuple(test),
            device=str(device_of(device)),
            runs=runs,
            progress=console.is_terminal,
        )
        say(str(run(name, effort, out=out, pages=pages, say=say)))
