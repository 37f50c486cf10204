"""Pages and terminal views of results, drawn by whoever registered for the result's class: a result is data.

The one place where a name is looked up. What draws the results of this package, :mod:`unmask.reporting` enters in
:data:`PAGES` and :data:`VIEWS`; a package of yours draws results of its own, or ours in its own way, with entry points
named by the class, in the groups ``unmask.pages`` and ``unmask.views``.
"""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from unmask.core.errors import UnmaskError, UsageError
from unmask.core.files import write_text
from unmask.core.registry import declared

if TYPE_CHECKING:
    from rich.console import RenderableType

#: class name -> ``module:function`` that makes HTML, ``(result, **settings) -> str``
PAGES: dict[str, str] = {}
#: class name -> ``module:function`` for the terminal: gives what rich prints, or shows the result itself
VIEWS: dict[str, str] = {}


def page_of(result: object, **settings: Any) -> str:
    """The page of a result, as HTML that needs nothing beside it.

    Raises:
        UnmaskError: nothing is registered that draws it.
    """
    return str(_renderer("unmask.pages", PAGES, result)(result, **settings))


def view_of(result: object, **settings: Any) -> list[RenderableType]:
    """What shows a result in a terminal, for :mod:`rich` to print; empty where it was shown at once.

    Raises:
        UnmaskError: nothing is registered that shows it.
    """
    found = _renderer("unmask.views", VIEWS, result)(result, **settings)
    return found if isinstance(found, list) else [] if found is None else [found]


def save_page(path: str | Path, html: str) -> Path:
    """Write a page.

    Raises:
        UsageError: the name does not end in .html.
    """
    if Path(path).suffix not in (".html", ".htm"):
        raise UsageError(f"a page is written as .html, not {Path(path).name!r}")
    return write_text(path, html)


def _renderer(group: str, own: dict[str, str], result: object) -> Any:
    for kind in type(result).__mro__:
        for point in declared(group).select(name=kind.__name__):
            return point.load()
        if kind.__name__ in own:
            return resolve_name(own[kind.__name__])
    raise UnmaskError(
        f"nothing draws a {type(result).__name__}: name a function in an entry point "
        f"{type(result).__name__!r} of the group {group!r}"
    )
