"""`unmask evaluate`."""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def evaluate(
        model: str = typer.Argument(..., help="Run folder or hub id."),
        data: str | None = typer.Option(None, help="Corpus, file, folder or hub id; the model's own held-out texts."),
        column: str | None = typer.Option(None, help="Column that holds the text; two, comma between, make pairs."),
        texts: int = typer.Option(256, help="Held-out texts to score."),
        order: str = typer.Option("margin", help="Decoding order."),
        steps: int = typer.Option(16, help="Decoding steps."),
        guidance: float = typer.Option(1.0, help="gamma in gamma*l_c + (1-gamma)*l_u."),
        temperature: float | None = typer.Option(
            None, help="0 takes the most probable token; 1 for a model that writes freely, else 0, when not given."
        ),
        judge: str | None = typer.Option("smollm2", help="Causal judge for GenPPL; 'none' leaves it out."),
        seed: int = typer.Option(0),
        task: str | None = typer.Option(None, help="Problems with answers instead: gsm_symbolic, humaneval_single ..."),
        execute: bool = typer.Option(False, "--execute", help="Run code the model wrote; it is limited, not caged."),
        out: Path | None = typer.Option(None, help="Folder for metrics.json and report.html; the run folder's own."),
    ) -> None:
        """Score a model honestly: bound, loss by mask ratio, use of the latent, and what it writes."""
        from rich.console import Console

        from unmask import api
        from unmask.core.errors import WrongUse
        from unmask.data import ranks

        if task is not None:
            _task(model, task, texts, order, steps, temperature, execute, seed, out)
            return
        if execute:
            raise WrongUse("--execute has no effect without --task")
        loaded = api.load(model)
        result = api.evaluate(
            loaded,
            data,
            column=column,
            texts=texts,
            order=order,
            steps=steps,
            guidance=guidance,
            temperature=temperature,
            judge=None if judge in (None, "none") else judge,
            seed=seed,
            share=True,
        )
        if not ranks.first():
            return
        console = Console()
        for table in result.tables():
            console.print(table)
        folder = out or Path(loaded.path or ".") / "evaluation"
        result.save(folder)
        console.print(f"{folder}/metrics.json and report.html", style="dim")


def _task(
    model: str,
    task: str,
    count: int,
    order: str,
    steps: int,
    temperature: float | None,
    execute: bool,
    seed: int,
    out: Path | None,
) -> None:
    from rich.console import Console

    from unmask import api
    from unmask.evaluation.tasks import load_task, run_task
    from unmask.models.text_model import write_json

    problems = load_task(task, count, seed)  # a wrong name is said before a model is read
    result = run_task(
        api.load(model),
        task,
        order=order,
        steps=steps,
        temperature=temperature or 0.0,
        execute=execute,
        seed=seed,
        problems=problems,
    )
    console = Console()
    console.print(f"{task}: {result.accuracy(seed)} right by {result.judged_by}", highlight=False)
    console.print(f"{result.fitted} of {len(problems)} problems fit the model", style="dim", highlight=False)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / f"{task}.json", result.to_json())
        console.print(f"{out}/{task}.json", style="dim", markup=False, highlight=False)
