"""Self-contained pages: one file, no network, light and dark, wide and narrow, on paper too.

A page is a list of sections, a section a list of blocks. Everything is escaped; only :class:`Figure` and :class:`Html`
carry markup, and they take nothing but :class:`markupsafe.Markup`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from html import unescape
from typing import TYPE_CHECKING, Any, ClassVar

from markupsafe import Markup

from unmask.core.errors import UsageError

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Plot

# Plots are drawn in colours that mean nothing; in the page they become CSS variables, so that one drawing serves light,
# dark and print.
INK, MUTED, GRID = "#0a0b01", "#0a0b02", "#0a0b03"
#: colours of lines and bars, in order
SERIES = ("#0a0c01", "#0a0c02", "#0a0c03", "#0a0c04", "#0a0c05")
#: markers in the same order: colour is never the only difference
MARKERS = ("o", "s", "^", "D", "v")
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)"} | {
    colour: f"var(--series-{i})" for i, colour in enumerate(SERIES, 1)
}


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class PageTable:
    """A table; scrolls by itself where the window is narrow.

    Attributes:
        title: its caption.
        columns: heads.
        rows: cells as text.
        align: a letter a column: ``l``, ``r``, or ``n`` for names, left and never broken; first left and the rest right
            when empty.
        note: small print below.
        dim: which rows are of less weight.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: str = ""
    note: str = ""
    dim: Collection[int] = ()
    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        if not self.align:
            object.__setattr__(self, "align", "l" + "r" * (len(self.columns) - 1))
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        if wrong or len(self.align) != len(self.columns):
            raise UsageError(f"table {self.title!r} has {len(self.columns)} columns, but a row or align has not")


@dataclass(frozen=True)
class Figure:
    """A drawing from :func:`figure_svg` with a caption."""

    svg: Markup
    caption: str = ""
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Gallery:
    """Small drawings side by side."""

    figures: Sequence[Figure]
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True)
class Tiles:
    """The few numbers to read first: (label, value, note)."""

    items: Sequence[tuple[str, str, str]]
    kind: ClassVar[str] = "tiles"


@dataclass(frozen=True)
class Embed:
    """A whole page of its own (a trace) in a frame that cannot reach this one."""

    html: str
    title: str
    height: int = 520
    kind: ClassVar[str] = "embed"


@dataclass(frozen=True)
class Html:
    """Markup that another autoescaped template made."""

    markup: Markup
    kind: ClassVar[str] = "html"


PageBlock = Text | PageTable | Figure | Gallery | Tiles | Embed | Html


@dataclass(frozen=True)
class Section:
    """A heading and its blocks."""

    title: str
    blocks: Sequence[PageBlock] = field(default_factory=list)


def render_page(title: str, sections: Sequence[Section], *, subtitle: str = "", footer: str = "") -> str:
    """A self-contained HTML page of sections.

    Raises:
        UsageError: a figure or an :class:`Html` block whose markup is plain text.
    """
    scripts = set()
    for section in sections:
        for block in section.blocks:
            drawn = block.figures if isinstance(block, Gallery) else [block]
            markup = [b.svg if isinstance(b, Figure) else b.markup for b in drawn if isinstance(b, (Figure, Html))]
            if not all(isinstance(m, Markup) for m in markup):
                raise UsageError(f"section {section.title!r} holds markup as plain text: make it with figure_svg")
            if isinstance(block, Embed):
                # a frame is under its own policy and this one: what stands first in its head is let through here
                scripts.update(re.findall(r"script-src '(sha256-[^;\"]+)'", unescape(block.html.split("<title>")[0])))
    return page_from_template("page.html", title, subtitle, footer, scripts, sections=sections)


def page_from_template(
    template: str, title: str, subtitle: str = "", footer: str = "", scripts: Collection[str] = (), **values: Any
) -> str:
    """A self-contained page whose body is one template; text is escaped.

    ``scripts`` are the hashes of those that may run: a browser does nothing else with the page than show it.
    """
    allowed = " ".join(f"'{script}'" for script in sorted(scripts)) or "'none'"
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    about = {"policy": policy, "title": title, "subtitle": subtitle, "footer": footer}
    return templates().get_template(template).render(about | values)


def fragment(template: str, **values: Any) -> Markup:
    """The markup of one template; text is escaped."""
    return Markup(templates().get_template(template).render(values))


@lru_cache(maxsize=1)
def templates() -> Environment:
    """The package's Jinja environment, autoescaped."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@contextmanager
def plot(width: float = 6.4, height: float = 3.4) -> Iterator[tuple[Plot, Axes]]:
    """A figure and its axes in the style of the pages; draw inside the ``with``."""
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure as SamplerState

    style: Any = {
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=SERIES),
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "lines.markersize": 5,
        "font.size": 10,
    }
    with matplotlib.rc_context(style):
        figure = SamplerState(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def figure_svg(figure: Plot, alt: str) -> Markup:
    """A figure as inline SVG that takes its colours and font from the page.

    Args:
        figure: drawn with :func:`plot`.
        alt: what a reader who cannot see it should know.
    """
    import matplotlib

    out = io.StringIO()
    # text stays text (searchable, the page's font); a fixed salt makes the same plot the same bytes
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "unmask"}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font-family: [^;\"]*;?|font: ([\d.]+px)[^;\"]*", lambda m: f"font-size: {m[1]}" if m[1] else "", svg)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert size is not None
    svg = re.sub(r"<svg [^>]*>", "", svg, count=1)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    head = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        'viewBox="0 0 {} {}" role="img" aria-label="{}">'
    )
    return head.format(size[1], size[2], alt) + Markup(svg)
