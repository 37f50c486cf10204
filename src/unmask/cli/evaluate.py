"""`unmask evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
        block_length: int | None = typer.Option(None, help="Write in blocks of this many tokens, left to right."),
        cache: str | None = typer.Option(None, help="Remember keys (unmask list caches): faster, not exact."),
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
            for name, given in (("data", data), ("column", column), ("guidance", None if guidance == 1 else guidance)):
                if given is not None:
                    raise WrongUse(f"--{name} {given} has no effect with --task, which has problems of its own")
            how = {"order": order, "steps": steps, "temperature": temperature or 0.0, "seed": seed}
            _task(model, task, texts, {**how, "block_length": block_length, "cache": cache, "execute": execute}, out)
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
            block_length=block_length,
            cache=cache,
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


def _task(model: str, task: str, count: int, settings: dict[str, Any], out: Path | None) -> None:
    from rich.console import Console

    from unmask import api
    from unmask.core.files import write_json
    from unmask.evaluation.tasks import load_task, run_task

    seed = settings["seed"]
    problems = load_task(task, count, seed)  # a wrong name is said before a model is read
    result = run_task(api.load(model), task, problems=problems, **settings)
    console = Console()
    console.print(f"{task}: {result.accuracy(seed)} right by {result.judged_by}", highlight=False)
    console.print(f"{result.fitted} of {len(problems)} problems fit the model", style="dim", highlight=False)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / f"{task}.json", result.to_json())
        console.print(f"{out}/{task}.json", style="dim", markup=False, highlight=False)
