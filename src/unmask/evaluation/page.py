"""Self-contained pages: one file, no network, light and dark, wide and narrow, on paper too.

A page is a list of sections, a section a list of blocks. Everything is escaped; only :class:`Figure` and :class:`Html`
carry markup, and they take nothing but :class:`markupsafe.Markup`.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from markupsafe import Markup

from unmask.core.errors import WrongUse

if TYPE_CHECKING:
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
class Table:
    """A table; scrolls by itself where the window is narrow.

    Attributes:
        title: its caption.
        columns: heads.
        rows: cells as text.
        align: a letter a column, ``l`` or ``r``; first left and the rest right when empty.
        note: small print below.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: str = ""
    note: str = ""
    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        if not self.align:
            object.__setattr__(self, "align", "l" + "r" * (len(self.columns) - 1))
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        if wrong or len(self.align) != len(self.columns):
            raise WrongUse(f"table {self.title!r} has {len(self.columns)} columns, but a row or align has not")


@dataclass(frozen=True)
class Figure:
    """A drawing from :func:`figure_svg` with a caption."""

    svg: Markup
    caption: str = ""
    kind: ClassVar[str] = "figure"


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
    height: int = 480
    kind: ClassVar[str] = "embed"


@dataclass(frozen=True)
class Html:
    """Markup that another autoescaped template made."""

    markup: Markup
    kind: ClassVar[str] = "html"


Block = Text | Table | Figure | Tiles | Embed | Html


@dataclass(frozen=True)
class Section:
    """A heading and its blocks."""

    title: str
    blocks: Sequence[Block] = field(default_factory=list)


def render_page(title: str, sections: Sequence[Section], *, subtitle: str = "", footer: str = "") -> str:
    """A whole HTML page.

    Raises:
        WrongUse: a figure or an :class:`Html` block whose markup is plain text.
    """
    import jinja2

    for section in sections:
        for block in section.blocks:
            markup = block.svg if isinstance(block, Figure) else block.markup if isinstance(block, Html) else Markup()
            if not isinstance(markup, Markup):
                raise WrongUse(f"section {section.title!r} holds markup as plain text: make it with figure_svg")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("unmask.evaluation", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        policy=_policy(sections), title=title, subtitle=subtitle, sections=sections, footer=footer
    )


def _policy(sections: Sequence[Section]) -> str:
    """What a browser may do with the page: nothing but show it, and run the scripts that embedded pages say are theirs.

    A frame is under its own policy and this one, so what stands first in its head is let through here.
    """
    heads = [unescape(b.html.split("<title>")[0]) for s in sections for b in s.blocks if isinstance(b, Embed)]
    said = [re.search(r"script-src ('sha256-[^;\"]+')", head) for head in heads]
    scripts = " ".join(sorted({found[1] for found in said if found})) or "'none'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def write_page(path: str | Path, html: str) -> Path:
    """Write a page whole or not at all; folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(html, encoding="utf-8")
    os.replace(partial, path)
    return path


@contextmanager
def plot(width: float = 6.4, height: float = 3.4) -> Iterator[tuple[Plot, Axes]]:
    """A figure and its axes in the style of the pages; draw inside the ``with``."""
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure as Canvas

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
        figure = Canvas(figsize=(width, height), layout="constrained")
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
