"""`unmask evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from unmask.cli._settings import require_data, require_settings, sampling_flags

#: how it writes; what else `unmask sample` has is of no use to scores
_SETTINGS = (
    "order",
    "steps",
    "quota",
    "sampler",
    "remasking",
    "guidance",
    "temperature",
    "top_k",
    "top_p",
    "repetition_penalty",
    "block_length",
    "cache",
    "stop_at_eos",
    "seed",
    "precision",
    "batch_size",
)


def register(app: typer.Typer) -> None:
    def evaluate(
        settings: dict[str, Any],
        model: str = typer.Argument(..., help="Run folder or hub id."),
        data: str | None = typer.Option(None, help="Corpus, file, folder or hub id; the model's own held-out texts."),
        column: str | None = typer.Option(None, help="Column that holds the text; two, comma between, make pairs."),
        texts: int = typer.Option(256, help="Held-out texts to score."),
        length: int | None = typer.Option(
            None,
            help="Positions of the canvas; a model of ours: its own; others: what the longest text needs, 128-1024.",
        ),
        judge: str | None = typer.Option(
            None, help="Causal judge for GenPPL: smollm2 where texts are written; 'none' leaves it out."
        ),
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
        from unmask.core import distributed
        from unmask.core.errors import UsageError
        from unmask.data.hub import results_place

        if task is not None:
            others = {"data": data, "column": column, "length": length, "guidance": settings.get("guidance")}
            for name, given in others.items():
                if given is not None:
                    raise UsageError(f"--{name} {given} has no effect with --task, which has problems of its own")
            require_settings(settings)
            _task(model, task, texts, {**settings, "execute": execute}, out)
            return
        if execute:
            raise UsageError("--execute has no effect without --task")
        if texts < 1:
            raise UsageError(f"texts={texts} must be at least 1")
        require_settings(settings)
        require_data(data, column)
        loaded = api.load(model)
        result = api.evaluate(
            loaded,
            data,
            column=column,
            texts=texts,
            length=length,
            judge=loaded.judge if judge is None else None if judge == "none" else judge,
            share=True,
            **settings,
        )
        if not distributed.is_main_process():
            return
        console = Console()
        for table in result.tables():
            console.print(table)
        folder = out or results_place(model, "evaluation")
        result.save(folder)
        console.print(f"{folder}/metrics.json and report.html", style="dim")

    app.command()(sampling_flags(evaluate, only=_SETTINGS))


def _task(model: str, task: str, count: int, settings: dict[str, Any], out: Path | None) -> None:
    from rich.console import Console

    from unmask import api
    from unmask.core.files import write_json
    from unmask.evaluation.tasks import load_task, run_task

    seed = settings.get("seed", 0)
    problems = load_task(task, count, seed)  # a wrong name is said before a model is read
    loaded = api.load(model)
    if "steps" in loaded.honours and "steps" not in loaded.config.changed():
        settings = {"steps": "auto", **settings}
    result = run_task(loaded, task, problems=problems, **settings)
    console = Console()
    console.print(f"{task}: {result.accuracy(seed)} right by {result.judged_by}", highlight=False)
    console.print(f"written with {result.plan}", style="dim", highlight=False, markup=False)
    console.print(f"{result.fitted} of {len(problems)} problems fit the model", style="dim", highlight=False)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / f"{task}.json", result.to_json())
        console.print(f"{out}/{task}.json", style="dim", markup=False, highlight=False)
