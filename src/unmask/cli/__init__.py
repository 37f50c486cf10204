"""The command line: parse, call, print. Exit codes: 0 fine, 1 failed (or a failing verdict), 2 wrong use."""

from __future__ import annotations

import importlib
import pkgutil
import sys


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

    # one module a command; each has `register(app)`; heavy imports wait inside the commands
    for name in sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")):
        importlib.import_module(f"unmask.cli.{name}").register(app)
    return app


def main(words: list[str] | None = None) -> None:
    """Run the command line; errors a user can act on are one sentence on stderr."""
    from unmask.core.errors import UnmaskError, UsageError

    try:
        build()(args=words)  # typer says what is wrong with the words themselves, and exits with 2
    except KeyboardInterrupt:
        _stop("stopped", 130)
    except UsageError as error:
        _stop(error, 2)
    except (UnmaskError, OSError) as error:
        # OSError: a full disk, a folder that may not be written, in the operating system's own words
        _stop(error, 1)


def _stop(why: object, code: int) -> None:
    sys.stderr.write(f"unmask: {why}\n")
    sys.exit(code)
