"""`unmask train`."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    @app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def train(
        context: typer.Context,
        recipe: str = typer.Argument(..., help="A YAML file, or the name of a shipped recipe (unmask list recipes)."),
    ) -> None:
        """Train a model from a recipe. Any setting can be given as a flag: --max_steps 100 --learning_rate 1e-3.

        A run that was stopped goes on by itself when started again with the same settings.
        """
        from unmask import api
        from unmask.recipes import find
        from unmask.training.recipe import parse, read_recipe

        api.train(parse(read_recipe(find(recipe)), context.args))
