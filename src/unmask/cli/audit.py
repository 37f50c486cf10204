"""`unmask audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from unmask.cli._settings import sampling_flags

#: settings of our samplers that change what is written, whatever the model is
_SETTINGS = (
    "order",
    "steps",
    "quota",
    "sampler",
    "remasking",
    "block_length",
    "guidance",
    "temperature",
    "top_k",
    "top_p",
)


def register(app: typer.Typer) -> None:
    def audit(
        settings: dict[str, Any],
        target: str = typer.Argument(
            "plan",
            help="PACKAGE.MODULE:FUNCTION or FILE.py:FUNCTION; 'plan' (when missing) is ours, under these flags.",
        ),
        signature: str | None = typer.Option(
            None, help="How the function is called (unmask list signatures), with settings behind a colon."
        ),
        report: Path | None = typer.Option(None, help="HTML page."),
        json: Path | None = typer.Option(None, help="Also write the verdict as JSON."),
        seed: int = typer.Option(0),
    ) -> None:
        """Run a sampler with denoisers whose answers are exact, and say what it does wrong. Exit code 1 if it fails."""
        from rich.console import Console

        from unmask import api
        from unmask.core.errors import UsageError

        for name, path, ending in (("--report", report, ".html"), ("--json", json, ".json")):
            if path is not None and path.suffix != ending:
                raise UsageError(f"{name} {path} must end in {ending}")
        console = Console()
        status = console.status("audit") if console.is_terminal else None
        if status is not None:
            status.start()
        try:
            verdict = api.audit(
                target,
                signature=signature,
                seed=seed,
                progress=None if status is None else lambda line: status.update(line),
                **settings,
            )
        finally:
            if status is not None:
                status.stop()
        console.print(verdict)
        for path in (report, json):
            if path is not None:
                verdict.save(path)
                console.print(f"saved: {path}", style="dim", markup=False, highlight=False)
        if verdict.exit_code:
            raise typer.Exit(verdict.exit_code)

    app.command()(sampling_flags(audit, only=_SETTINGS))
