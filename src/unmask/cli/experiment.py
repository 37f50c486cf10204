"""`unmask experiment`."""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def experiment(
        name: str = typer.Argument(
            ..., help="sudoku, zebra, nae_sat, order_learners, frontier, sgdd_parts, paraphrase or beyond."
        ),
        minutes: float | None = typer.Option(None, help="Train each arm this long, later go on; 0 measures."),
        steps: int | None = typer.Option(None, help="Optimiser steps of each arm's whole run."),
        batch: int | None = typer.Option(None, help="Rows a step."),
        boards: int | None = typer.Option(None, help="Boards or texts that are measured; 500 when missing."),
        arm: list[str] = typer.Option([], help="Only this arm; repeatable."),
        test: list[str] = typer.Option([], help="Only this test set (nae_sat: N,P); repeatable."),
        start_from: str | None = typer.Option(None, help="Folder of a trained model to start from (paraphrase)."),
        scale: str | None = typer.Option(None, help="cpu (when missing), or paper (the paper's sizes: a GPU)."),
        device: str | None = typer.Option(None, help="cpu, cuda, ...; CUDA where there is one when missing."),
        runs: Path = typer.Option(Path("runs/experiments"), help="Folder of the checkpoints."),
        out: Path = typer.Option(Path("docs/benchmarks"), help="Folder of the numbers (JSON)."),
        pages: Path = typer.Option(Path("docs/experiments"), help="Folder of the page and its drawings."),
        page_only: bool = typer.Option(False, "--page", help="Rewrite the page from the numbers; train nothing."),
    ) -> None:
        """Run one of the papers' experiments: train, measure, write the numbers, rewrite the page from them."""
        from rich.console import Console

        from unmask.core.device import device_of
        from unmask.core.errors import UsageError
        from unmask.experiments.study import Effort, rewrite, run, study

        console = Console()

        def say(line: str) -> None:
            console.print(line, markup=False, highlight=False)

        study(name)  # a wrong name shows before anything is built
        if page_only:
            numbers = {"minutes": minutes, "steps": steps, "batch": batch, "boards": boards, "scale": scale}
            numbers |= {"start-from": start_from}
            given = [option for option, value in numbers.items() if value is not None]
            given += [option for option, value in (("arm", arm), ("test", test), ("device", device)) if value]
            if given:
                raise UsageError(f"--{given[0]} has no effect with --page, which only rewrites the page")
            say(str(rewrite(name, out=out, pages=pages)))
            return
        effort = Effort(
            scale=scale or "cpu",
            minutes=minutes,
            steps=steps,
            batch=batch,
            boards=500 if boards is None else boards,
            arms=tuple(arm),
            tests=tuple(test),
            start_from=start_from,
            device=str(device_of(device)),
            runs=runs,
            progress=console.is_terminal,
        )
        say(str(run(name, effort, out=out, pages=pages, say=say)))
