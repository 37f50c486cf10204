"""The result as one self-contained page: no scripts, no fonts, nothing loaded from elsewhere."""

from __future__ import annotations

from unmask.kvcache.plots import plots
from unmask.kvcache.result import KvResult
from unmask.kvcache.table import percent, size, span


def render(result: KvResult) -> str:
    """HTML of a result; every text in it is escaped."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("unmask.kvcache"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(percent=percent, size=size, span=span)
    drawn = [(caption, Markup(svg)) for caption, svg in plots(result)]  # our own drawing: no text of the user's in it
    return environment.get_template("kv.html").render(r=result, plots=drawn)
