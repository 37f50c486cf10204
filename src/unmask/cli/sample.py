"""`unmask sample`."""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def sample(
        model: str = typer.Argument(..., help="Run folder or hub id."),
        text: list[str] = typer.Option([], "--text", "-t", help="Text whose meaning to write; repeatable."),
        file: Path | None = typer.Option(None, help="File with one text a line."),
        n: int | None = typer.Option(None, help="How many samples (a text, or in all without texts)."),
        order: str = typer.Option("margin", help="Which position next (unmask list orders)."),
        steps: int = typer.Option(16, help="Denoising steps."),
        quota: str = typer.Option("cosine", help="How many positions a step (unmask list quotas)."),
        guidance: float = typer.Option(1.0, help="gamma in gamma*l_c + (1-gamma)*l_u; 1 is off, SGDD's w is gamma-1."),
        temperature: float = typer.Option(0.0, help="0 takes the most probable token."),
        top_k: int | None = typer.Option(None, help="Draw among the k most probable."),
        top_p: float | None = typer.Option(None, help="Draw within this much probability."),
        repetition_penalty: float = typer.Option(1.0, help="Above 1: tokens already written become less likely."),
        length: int | None = typer.Option(None, help="Canvas length; the model's own when not given."),
        seed: int = typer.Option(0, help="Same seed, same text."),
        precision: str = typer.Option("fp32", help="bf16 is about twice as fast."),
        trace: Path | None = typer.Option(None, help="Write the unmasking trace: .html (animated page) or .json."),
        live: bool = typer.Option(False, help="Show the unmasking in the terminal as it happens."),
    ) -> None:
        """Write texts with a trained model."""
        from rich.console import Console

        from unmask import api
        from unmask.core.errors import WrongUse

        texts = list(text)
        if file is not None:
            if not file.is_file():
                raise WrongUse(f"there is no file {str(file)!r} with texts")
            texts += [line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        if trace is not None and trace.suffix not in (".html", ".json"):
            raise WrongUse(f"--trace {trace} must end in .html or .json")
        out = api.sample(
            api.load(model),
            texts or None,
            n=n,
            order=order,
            steps=steps,
            quota=quota,
            guidance=guidance,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            length=length,
            seed=seed,
            precision=precision,  # type: ignore[arg-type]
            trace=trace is not None or live,
            live=live,
        )
        console = Console()
        for i, written in enumerate(out.texts):
            if texts:
                console.print(texts[i * len(texts) // len(out.texts)], style="dim", markup=False, highlight=False)
            console.print(written, markup=False, highlight=False)
        if trace is not None and out.trace is not None:
            out.save_trace(trace)
            console.print(f"trace: {trace}", style="dim")
