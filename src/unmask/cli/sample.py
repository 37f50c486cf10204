"""`unmask sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def sample(
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
        order: str | None = typer.Option(None, help="Which position next (unmask list orders); margin."),
        steps: int | None = typer.Option(None, help="Denoising steps; 16 where the quota or sampler counts steps."),
        quota: str | None = typer.Option(None, help="How many positions a step (unmask list quotas); cosine."),
        sampler: str = typer.Option("maskgit", help="What makes the steps (unmask list samplers)."),
        remasking: str | None = typer.Option(None, help="Hide written tokens again (unmask list remaskers)."),
        block_length: int | None = typer.Option(None, help="Write in blocks of this many tokens, left to right."),
        cache: str | None = typer.Option(None, help="Remember keys (unmask list caches): faster, not exact."),
        stop_at_eos: bool = typer.Option(False, "--stop-at-eos", help="A row ends with its first end of text."),
        guidance: float = typer.Option(1.0, help="gamma in gamma*l_c + (1-gamma)*l_u; 1 is off, SGDD's w is gamma-1."),
        temperature: float | None = typer.Option(
            None, help="0 takes the most probable token; 0 for one text a prompt, else 1, when not given."
        ),
        top_k: int | None = typer.Option(None, help="Draw among the k most probable."),
        top_p: float | None = typer.Option(None, help="Draw within this much probability."),
        repetition_penalty: float = typer.Option(1.0, help="Above 1: tokens already written become less likely."),
        length: int | None = typer.Option(None, help="Tokens to write; the model's own when not given."),
        seed: int = typer.Option(0, help="Same seed, same text."),
        batch_size: int = typer.Option(64, help="Rows at a time."),
        precision: str = typer.Option("auto", help="fp32, bf16, or auto: the one this machine is faster in."),
        trace: Path | None = typer.Option(None, help="Write the unmasking trace: .html (animated page) or .json."),
        attention: Path | None = typer.Option(
            None, help="Draw who looks at whom in the first text's last block (a tidal model): .html."
        ),
        live: bool = typer.Option(False, help="Show the unmasking in the terminal as it happens."),
    ) -> None:
        """Write texts with a trained model."""
        from rich.console import Console

        from unmask import api
        from unmask.core.errors import WrongUse
        from unmask.data import ranks
        from unmask.models.causal import CausalModel

        texts = list(text)
        if file is not None:
            from unmask.data.prose import prompts

            texts += prompts(file, column)
        elif column is not None:
            raise WrongUse(f"--column {column} has no effect without --file")
        if trace is not None and trace.suffix not in (".html", ".json"):
            raise WrongUse(f"--trace {trace} must end in .html or .json")
        if attention is not None and attention.suffix != ".html":
            raise WrongUse(f"--attention {attention} must end in .html")
        loaded = api.load(model)
        if attention is not None and not isinstance(loaded, api.TidalTextModel):
            raise WrongUse("--attention draws the blocks of a tidal model; this model writes without blocks")
        out: Any = api.sample(
            loaded,
            texts or None,
            n=n,
            order=order,
            steps="auto" if steps is None else steps,
            quota=quota,
            sampler=sampler,
            remasking=remasking,
            block_length=block_length,
            cache=cache,
            stop_at_eos=stop_at_eos,
            guidance=guidance,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            length=length,
            seed=seed,
            batch_size=batch_size,
            precision=precision,  # type: ignore[arg-type]
            trace=trace is not None or (live and not isinstance(loaded, CausalModel)),
            live=live and ranks.first(),
            share=True,
        )
        if not ranks.first():
            return
        console = Console()
        for i, written in enumerate(out.texts):
            if texts:
                console.print(
                    texts[i * len(texts) // len(out.texts)], style="dim", markup=False, highlight=False, soft_wrap=True
                )
            console.print(written, markup=False, highlight=False, soft_wrap=True)
        # standard output is for what was written
        Console(stderr=True).print(f"{out.forwards} forwards in {out.precision}", style="dim", highlight=False)
        if trace is not None and out.trace is not None:
            out.save_trace(trace)
            console.print(f"trace: {trace}", style="dim")
        if attention is not None:
            console.print(f"attention: {out.save_attention(attention)}", style="dim", markup=False, highlight=False)
