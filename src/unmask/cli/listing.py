"""`unmask list`."""

from __future__ import annotations

from pathlib import Path

import typer


def register(app: typer.Typer) -> None:
    @app.command("list")
    def listing(
        what: str | None = typer.Argument(None, help="orders, quotas, recipes, ...; all if left out."),
        write: Path | None = typer.Option(None, help="Make the tables of this Markdown page anew instead."),
    ) -> None:
        """What can be named on the command line, with settings and sources."""
        from rich.console import Console
        from rich.table import Table

        from unmask import recipes
        from unmask.core.errors import UsageError, did_you_mean
        from unmask.registries import refilled, registries

        if write is not None:
            if what is not None or not write.is_file():
                raise UsageError(f"--write {write} must be a page that exists, and says itself what to list")
            write.write_text(refilled(write.read_text(encoding="utf-8")), encoding="utf-8")
            return
        kinds = registries()
        known = [*kinds, "recipes"]
        if what is not None and what not in known:
            raise UsageError(f"nothing to list is called {what!r}: {did_you_mean(what, known)}")
        console = Console()
        for name, registry in kinds.items():
            if what in (None, name):
                table = Table(title=name, title_justify="left")
                for column in ("name", "what it does", "settings", "source"):
                    table.add_column(column, overflow="fold")
                for row in registry.table():
                    table.add_row(row["name"], row["summary"], row["settings"], row["reference"])
                console.print(table)
                if name == "presses" and not table.row_count:
                    console.print('none here: they come with the extra kv, pip install "unmask[kv]"', markup=False)
        if what in (None, "recipes"):
            table = Table(title="recipes", title_justify="left")
            table.add_column("name")
            table.add_column("what it does", overflow="fold")
            for recipe in recipes.names():
                first = recipes.find(recipe).read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
                table.add_row(recipe, first)
            console.print(table)
