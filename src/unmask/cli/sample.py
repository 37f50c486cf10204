"""`unmask sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from unmask.cli._settings import sampling_flags


def register(app: typer.Typer) -> None:
    def sample(
        settings: dict[str, Any],
        model: str = typer.Argument(..., help="Run folder or hub id."),
        text: list[str] = typer.Option(
            [],
            "--text",
            "--texts",
            "-t",
            help="Text whose meaning to write, or a prompt (LLaDA, Dream ...); repeatable.",
        ),
        file: Path | None = typer.Option(
            None, help="File with one text a line, or a column of texts (.jsonl, .csv ...)."
        ),
        column: str | None = typer.Option(None, help="Column of --file that holds the texts."),
        n: int | None = typer.Option(None, "--n", "-n", help="How many samples (a text, or in all without texts)."),
        trace: Path | None = typer.Option(None, help="Write the unmasking trace: .html (animated page) or .json."),
        attention: Path | None = typer.Option(
            None, help="Draw who looks at whom in the first text's last block (a tidal model): .html."
        ),
        live: bool = typer.Option(False, help="Show the unmasking in the terminal as it happens."),
    ) -> None:
        """Write texts with a trained model."""
        import contextlib

        from rich.console import Console

        from unmask import api
        from unmask.core import distributed
        from unmask.core.errors import UsageError

        texts = list(text)
        if file is not None:
            from unmask.data.prose import prompts

            texts += prompts(file, column)
        elif column is not None:
            raise UsageError(f"--column {column} has no effect without --file")
        if trace is not None and trace.suffix not in (".html", ".json"):
            raise UsageError(f"--trace {trace} must end in .html or .json")
        if attention is not None and attention.suffix != ".html":
            raise UsageError(f"--attention {attention} must end in .html")
        loaded = api.load(model)
        if attention is not None and not loaded.draws_attention:
            raise UsageError("--attention draws the blocks of a tidal model; this model writes without blocks")
        # a puzzle's attempts are few and quick
        searched = not str(settings.get("verify") or loaded.config.verify or "rules").startswith("rules")
        shown = searched and distributed.is_main_process()
        mine = len(distributed.split_between_processes(len(texts) * (n or 1)))
        watched: Any = contextlib.nullcontext()
        if shown:
            # a sample that is not searched does not wait for the search to be imported
            from unmask.reporting.search_live import SearchView

            watched = SearchView(mine, live)
        with watched as view:
            out: Any = api.sample(
                loaded,
                texts or None,
                n=n,
                **settings,
                trace=trace is not None or (live and loaded.traces),
                live=live and distributed.is_main_process(),
                callback=view,
                share=True,
            )
        if not distributed.is_main_process():
            return
        console = Console()
        for i, written in enumerate(out.texts):
            if texts:
                console.print(
                    texts[i * len(texts) // len(out.texts)], style="dim", markup=False, highlight=False, soft_wrap=True
                )
            console.print(written, markup=False, highlight=False, soft_wrap=True)
            if out.stopped is not None:
                why = out.stopped[i] if " " in out.stopped[i] else f"{out.stopped[i]} ran out"
                ended = "verified" if out.verified[i] else f"not verified, {why}"
                measure = "score" if out.cosine is None else "cosine"
                spent = f"{out.row_calls[i]} calls, {out.row_forwards[i]} forwards"
                line = f"  {ended}: {measure} {out.score[i]:.5f}, {spent}"
                Console(stderr=True).print(line, style="dim", highlight=False, soft_wrap=True)
        # standard output is for what was written
        Console(stderr=True).print(f"{out.forwards} forwards in {out.precision}", style="dim", highlight=False)
        if trace is not None and out.trace is not None:
            out.save_trace(trace)
            console.print(f"trace: {trace}", style="dim")
        if attention is not None:
            console.print(f"attention: {out.save_attention(attention)}", style="dim", markup=False, highlight=False)

    app.command()(sampling_flags(sample))
