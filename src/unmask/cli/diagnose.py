"""`unmask diagnose`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import typer

from unmask.cli._settings import require_data, require_settings, sampling_flags

#: how it writes, by the names of the settings that change what is written
_SETTINGS = (
    "order",
    "steps",
    "quota",
    "sampler",
    "remasking",
    "block_length",
    "cache",
    "stop_at_eos",
    "guidance",
    "temperature",
    "top_k",
    "top_p",
    "repetition_penalty",
)


def register(app: typer.Typer) -> None:
    def diagnose(
        settings: dict[str, Any],
        model: str = typer.Argument(..., help="Run folder or hub id."),
        data: str | None = typer.Option(None, help="Corpus, file, folder or hub id; the model's own held-out texts."),
        column: str | None = typer.Option(
            None, help="Column of --data that holds the text; two, comma between: pairs."
        ),
        length: int | None = typer.Option(
            None, help="Positions of the canvas, as for evaluate; of a causal model tokens a row (64)."
        ),
        budget: str = typer.Option("quick", help="'quick' or 'full'."),
        check: list[str] = typer.Option([], "--check", help="Only this check (unmask list checks); may be repeated."),
        report: Path | None = typer.Option(
            None, help="HTML page; else diagnosis.html in a run folder of ours, ./diagnosis--<name>.html."
        ),
        json: Path | None = typer.Option(None, help="Also write the verdict as JSON."),
        baseline: Path | None = typer.Option(
            None, help="An earlier verdict (--json): what is surely worse now fails, what is better is said."
        ),
        save_plan: bool = typer.Option(
            False, "--save-plan", help="Keep the plan that was tried and is better as the model's own; needs full."
        ),
        seed: int = typer.Option(0),
    ) -> None:
        """Say why a model writes badly: a verdict, causes first. Exit code 1 if it fails."""
        from rich.console import Console

        from unmask import api
        from unmask.core import distributed
        from unmask.core.errors import UsageError, did_you_mean
        from unmask.data.hub import results_place
        from unmask.diagnosis.baseline import Baseline
        from unmask.diagnosis.check import checks
        from unmask.diagnosis.context import BUDGETS
        from unmask.diagnosis.prescription import writable
        from unmask.reporting.verdict_view import print_line

        if report is not None and report.suffix != ".html":
            raise UsageError(f"--report {report} must end in .html")
        if json is not None and json.suffix != ".json":
            raise UsageError(f"--json {json} must end in .json")
        require_settings(settings)
        for spec in check:
            checks.make(spec)
        if budget not in BUDGETS:
            raise UsageError(f"budget={budget!r} is unknown: {did_you_mean(budget, BUDGETS)}")
        if save_plan:
            if budget != "full" or check:
                raise UsageError("--save-plan has no effect without --budget full, or with --check: no plan is tried")
            writable(model)
        if baseline is not None:
            Baseline.read(baseline)
        require_data(data, column)
        loaded = api.load(model)
        console = Console()
        live = console.is_terminal and distributed.is_main_process()
        verdict = api.diagnose(
            loaded,
            data,
            column=column,
            length=length,
            budget=budget,  # type: ignore[arg-type]
            only=check or None,
            seed=seed,
            **settings,
            share=True,
            baseline=baseline,
            on_finding=partial(print_line, console) if live else None,
        )
        if not distributed.is_main_process():
            raise typer.Exit(verdict.exit_code)
        console.print(verdict)
        page = report or results_place(model, "diagnosis", ".html")
        verdict.save(page)
        console.print(f"report: {page}", style="dim", markup=False, highlight=False)
        if json is not None:
            verdict.save(json)
            console.print(f"json: {json}", style="dim", markup=False, highlight=False)
        if save_plan and verdict.prescription is not None and verdict.prescription.better:
            console.print(f"plan: {verdict.prescription.save(model)}", style="dim", markup=False, highlight=False)
        elif save_plan:
            console.print("plan: not changed, none is surely better", style="dim", markup=False, highlight=False)
        if verdict.exit_code:
            raise typer.Exit(verdict.exit_code)

    app.command()(sampling_flags(diagnose, only=_SETTINGS))
