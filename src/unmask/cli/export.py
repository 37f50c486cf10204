"""`unmask export`."""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def export(
        model: str = typer.Argument(..., help="Run folder."),
        out: Path = typer.Argument(..., help="Folder to write."),
        precision: str = typer.Option("fp32", help="bf16 halves the file."),
    ) -> None:
        """Write a folder that transformers loads elsewhere, with trust_remote_code and without unmask."""
        import torch
        from rich.console import Console

        from unmask import api
        from unmask.core.errors import UsageError

        if precision not in ("fp32", "bf16"):
            raise UsageError(f"--precision {precision} must be fp32 or bf16")
        folder = api.load(model, device="cpu").export(out, torch.bfloat16 if precision == "bf16" else None)
        Console().print(f"AutoModel.from_pretrained({str(folder)!r}, trust_remote_code=True)", highlight=False)
