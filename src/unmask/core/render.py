"""Pages of results, drawn by whoever registered for the result's class: a result is data and imports no page.

The one place where a name is looked up: renderers are entry points in the group ``unmask.pages``, named by the class
they draw, each a function ``(result, **settings) -> str`` (HTML) in :mod:`unmask.reporting` or in a package of yours.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from unmask.core.errors import UnmaskError, WrongUse
from unmask.core.files import write_text

GROUP = "unmask.pages"


def page_of(result: object, **settings: Any) -> str:
    """The page of a result, as HTML that needs nothing beside it.

    Raises:
        UnmaskError: nothing is registered that draws it: the package was not installed, only put on the path.
    """
    for kind in type(result).__mro__:
        for point in metadata.entry_points(group=GROUP, name=kind.__name__):
            return str(point.load()(result, **settings))
    raise UnmaskError(
        f"nothing draws a {type(result).__name__}: its renderer is found through the installed package, "
        "so install it (pip install -e .)"
    )


def save_page(path: str | Path, html: str) -> Path:
    """Write a page.

    Raises:
        WrongUse: the name does not end in .html.
    """
    if Path(path).suffix not in (".html", ".htm"):
        raise WrongUse(f"a page is written as .html, not {Path(path).name!r}")
    return write_text(path, html)
