"""The recipes that ship with the package: ``unmask train NAME`` finds them here."""

from __future__ import annotations

from pathlib import Path

from unmask.core.errors import UsageError, did_you_mean

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(p.stem for p in FOLDER.glob("*.yaml"))


def find(name: str | Path) -> Path:
    """The file of a recipe given by path or by the name of a shipped one.

    Raises:
        UsageError: neither exists, and the message names the nearest; or it is a folder.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir() and (inside := sorted(p.name for p in path.iterdir() if p.suffix in (".yaml", ".yml"))):
        raise UsageError(f"{str(name)!r} is a folder: name one recipe in it, such as {', '.join(inside[:5])}")
    shipped = FOLDER / f"{path.stem}.yaml"
    if shipped.is_file() and str(path.parent) in (".", "recipes"):
        return shipped
    raise UsageError(f"there is no recipe {str(name)!r}: {did_you_mean(path.stem, names())}")
