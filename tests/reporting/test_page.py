"""The one page system: colours from the page, markup only from templates, and a strict policy."""

import re
from html import unescape
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from unmask.core.errors import UsageError
from unmask.reporting.page import (
    Embed,
    Figure,
    Gallery,
    Html,
    PageTable,
    Section,
    Text,
    figure_svg,
    page_from_template,
    plot,
    render_page,
)


def test_svg_takes_its_colours_from_the_page():
    with plot() as (figure, axes):
        axes.plot([0, 1], [0, 1], label="line & <b>")
        axes.set_title("t")
        axes.legend()
        svg = figure_svg(figure, 'a "line" <b>')
    assert isinstance(svg, Markup)
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == 'a "line" <b>' and root.get("width") is None
    assert "var(--series-1)" in svg and "var(--ink)" in svg and "var(--grid)" in svg
    colours = set(re.findall(r"#[0-9a-f]{6}\b", svg))
    assert colours <= {"#000000", "#ffffff"}, "fixed colours do not follow the page into the dark"
    assert "font-family" not in svg and "DejaVu" not in svg


def test_every_variable_in_a_plot_is_defined_for_light_and_dark():
    html = render_page("t", [])
    light, dark = html.split("prefers-color-scheme: dark", 1)
    for name in ["ink", "muted", "grid", *(f"series-{i}" for i in range(1, 6))]:
        assert f"--{name}:" in light and f"--{name}:" in dark.split("@media", 1)[0]


def test_blocks_refuse_plain_text_as_markup_and_ragged_tables():
    with pytest.raises(UsageError, match="'s' holds markup as plain text"):
        render_page("t", [Section("s", [Html("<b>x</b>")])])
    with pytest.raises(UsageError, match="figure_svg"):
        render_page("t", [Section("s", [Figure("<svg></svg>")])])
    with pytest.raises(UsageError, match="'x' has 2 columns"):
        PageTable("x", ("a", "b"), [("1",)])
    html = render_page("t", [Section("s", [Text("<i>"), Embed("<b>in</b>", 'x"y'), Html(Markup("<hr>"))])])
    assert "&lt;i&gt;" in html and 'srcdoc="&lt;b&gt;in&lt;/b&gt;"' in html and "<hr>" in html


def test_gallery_and_dim_rows_are_drawn_and_checked():
    drawing = Figure(Markup("<svg></svg>"), "a < b")
    table = PageTable("t", ("a", "b"), [("1", "2"), ("3", "4")], dim=[1])
    html = render_page("t", [Section("s", [Gallery([drawing, drawing]), table])])
    assert html.count("<figure>") == 2 and html.count("a &lt; b") == 2
    assert html.count('<tr class="dim">') == 1 and html.index("<td") < html.index('<tr class="dim">')
    with pytest.raises(UsageError, match="figure_svg"):
        render_page("t", [Section("s", [Gallery([drawing, Figure("<svg></svg>")])])])


def test_a_page_in_a_page_stays_text_and_keeps_its_scripts():
    inner = page_from_template("page.html", "inner", scripts=["sha256-abc="], sections=[])
    html = render_page("outer", [Section("s", [Embed(inner, "one"), Embed(inner, "again")])])
    assert type(inner) is str and html.count("<!doctype html>") == 1 and html.count("&lt;!doctype html&gt;") == 2
    policy = unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1])
    assert "script-src 'sha256-abc=';" in policy and "default-src 'none'" in policy
    assert "script-src 'none'" in unescape(render_page("t", []).split("<title>")[0])
