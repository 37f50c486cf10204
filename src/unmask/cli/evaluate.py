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
        length: int | None = typer.Option(
            None,
            help="Positions of the canvas; a model of ours: its own; others: what the longest text needs, 128-1024.",
        ),
        order: str | None = typer.Option(None, help="Decoding order; margin."),
        steps: int | None = typer.Option(None, help="Decoding steps; 16."),
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
        out: Path | None = typer.Option(
            None,
            help="Folder for metrics.json and report.html; evaluation/ in a run folder of ours, "
            "./evaluation--<name>/ for any other model.",
        ),
    ) -> None:
        """Score a model honestly: bound, loss by mask ratio, use of the latent, and what it writes."""
        from rich.console import Console

        from unmask import api
        from unmask.core.errors import WrongUse
        from unmask.data import ranks
        from unmask.data.hub import results_place

        if task is not None:
            others = {"data": data, "column": column, "length": length, "guidance": None if guidance == 1 else guidance}
            for name, given in others.items():
                if given is not None:
                    raise WrongUse(f"--{name} {given} has no effect with --task, which has problems of its own")
            how = {"order": order, "steps": steps, "temperature": temperature, "seed": seed}
            _task(model, task, texts, {**how, "block_length": block_length, "cache": cache, "execute": execute}, out)
            return
        if execute:
            raise WrongUse("--execute has no effect without --task")
        chosen: dict[str, Any] = {"order": order, "steps": steps}
        loaded = api.load(model)
        result = api.evaluate(
            loaded,
            data,
            column=column,
            texts=texts,
            length=length,
            **{name: value for name, value in chosen.items() if value is not None},
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
        folder = out or results_place(model, "evaluation")
        result.save(folder)
        console.print(f"{folder}/metrics.json and report.html", style="dim")


def _task(model: str, task: str, count: int, settings: dict[str, Any], out: Path | None) -> None:
    from rich.console import Console

    from unmask import api
    from unmask.core.files import write_json
    from unmask.evaluation.tasks import load_task, run_task
    from unmask.models.causal import CausalModel

    seed = settings["seed"]
    problems = load_task(task, count, seed)  # a wrong name is said before a model is read
    loaded = api.load(model)
    settings["temperature"] = settings["temperature"] or 0.0
    if not isinstance(loaded, CausalModel) and settings["steps"] is None:
        settings["steps"] = 16
    result = run_task(loaded, task, problems=problems, **settings)
    console = Console()
    console.print(f"{task}: {result.accuracy(seed)} right by {result.judged_by}", highlight=False)
    console.print(f"{result.fitted} of {len(problems)} problems fit the model", style="dim", highlight=False)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / f"{task}.json", result.to_json())
        console.print(f"{out}/{task}.json", style="dim", markup=False, highlight=False)
