"""The command line: parse, call, print. Exit codes: 0 fine, 1 failed (or a failing verdict), 2 wrong use."""

from __future__ import annotations

import importlib
import sys

# one module a command; each has `register(app)`; heavy imports wait inside the commands
COMMANDS = ("train", "sample", "evaluate", "diagnose", "kv", "listing", "demo")


def build():  # type: ignore[no-untyped-def]  # typer is imported late
    """The application with every command."""
    import typer

    import unmask

    app = typer.Typer(
        name="unmask",
        help="Train any-order language models, and unmask what their scores hide.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )

    def version(value: bool) -> None:
        if value:
            typer.echo(f"unmask {unmask.__version__}")
            raise typer.Exit

    @app.callback()
    def root(
        version: bool = typer.Option(False, "--version", callback=version, is_eager=True, help="Print the version."),
    ) -> None: ...

    for name in COMMANDS:
        importlib.import_module(f"unmask.cli.{name}").register(app)
    return app


def main(words: list[str] | None = None) -> None:
    """Run the command line; errors a user can act on are one sentence on stderr."""
    import click

    from unmask.core.errors import UnmaskError, WrongUse

    try:
        code = build()(args=words, standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = 2
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("unmask: stopped\n")
        code = 130
    except WrongUse as error:
        sys.stderr.write(f"unmask: {error}\n")
        code = 2
    except UnmaskError as error:
        sys.stderr.write(f"unmask: {error}\n")
        code = 1
    except OSError as error:
        # a full disk, a folder that may not be written: the operating system's own words, not a traceback
        sys.stderr.write(f"unmask: {error}\n")
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
